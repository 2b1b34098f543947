"""The most that one attempt may use, by its request: the actual prompt, not the longest there could be.

Two sources. One is a function that the price names, for providers whose author can tell. The other is the request of an
HTTP provider, as it will be sent. Any other provider may add to its params, such as a prompt of its own; nobody can
tell. Tokens are counted with tiktoken, piece by piece, so that the time it takes grows with the text and nothing else.
Other vendors count otherwise: a bound is twice the count, and never more than the bytes, since a token is a byte at
least.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

import msgspec

from agents_sdk.core import artifacts, ids
from backplane.manifests.model import Provider
from backplane.manifests.template import ABSENT, Rendered, template
from backplane.recovery.outcome import AttemptOutcome, Usage

log = logging.getLogger("backplane.executor")

OTHERS_COUNT: Final = 2
"""How many times more tokens another vendor may make of a text."""
FRAME_TOKENS: Final = 600
"""Tokens that a vendor adds around messages and tools: Anthropic says up to 530 for a tool that must be used."""
PIECE: Final = 1_000
"""Characters that are counted at a time: a tokenizer's time grows with the square of a word without end."""
UNKNOWN_USAGE: Final = Usage(input_tokens=-1, output_tokens=-1, cpu_seconds=-1.0)
"""Nothing is known; a field below 0 says nothing."""


def usage_at_most(provider: Provider, params: Mapping[str, Any]) -> Usage:
    """The most that an attempt with these params may use; fields below 0 where that is not known. Never raises: an
    estimate that fails says nothing."""
    price = provider.price
    if price is None:
        return UNKNOWN_USAGE
    try:
        if price.usage_at_most:
            usage = _function(price.usage_at_most)(params)
            return usage if isinstance(usage, Usage) else UNKNOWN_USAGE
        return replace(UNKNOWN_USAGE, input_tokens=_prompt_tokens(provider, params))
    except Exception:  # whatever an author's function or template raises here: the declared bounds hold then
        log.exception("the usage of %s cannot be estimated from its params", provider.name)
        return UNKNOWN_USAGE


def capped(outcome: AttemptOutcome, most: Usage) -> AttemptOutcome:
    """The outcome, with no more processor time charged than the estimate before. Tokens are as they were counted."""
    if most.cpu_seconds < 0 or outcome.usage.cpu_seconds <= most.cpu_seconds:
        return outcome
    return replace(outcome, usage=replace(outcome.usage, cpu_seconds=most.cpu_seconds))


def tokens_at_most(text: str) -> int:
    """A bound on what any vendor counts for the text."""
    from backplane.manifests.tokens import count

    counted = sum(count(text[at : at + PIECE]) for at in range(0, len(text), PIECE))
    return min(OTHERS_COUNT * counted, len(text.encode()))


def _prompt_tokens(provider: Provider, params: Mapping[str, Any]) -> int:
    if (prompt := provider.prompt()) is None:
        return -1  # a prompt of its own, or of several requests
    if artifacts.named(ids.canonical(dict(params))):
        return -1  # files have tokens of their own
    scope = {"params": params, "config": provider.config, "call": {}, "file": None}
    body = _body(msgspec.json.encode(prompt[0]))(scope)
    query = _body(msgspec.json.encode(prompt[1]))(scope)
    sent = [part for part in (body, query) if part is not ABSENT and part]
    return FRAME_TOKENS + tokens_at_most(msgspec.json.encode(sent).decode())


@lru_cache(maxsize=256)
def _body(tree: bytes) -> Rendered:
    return template(msgspec.json.decode(tree))


@lru_cache(maxsize=256)
def _function(path: str) -> Any:
    from backplane.manifests.python_functions import load

    return load(path)
