"""When a failed attempt at a message is made again: the policy of a handler, and the wait it gives. Pure.

A policy comes with the registration of its agent, so it is in the log. The wait after an attempt grows by a factor up
to a limit. A part of it is taken off by chance, which derives from the delivery's id: a replay takes off the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Final

import msgspec

from agents_sdk.core import ids
from agents_sdk.core.ids import DeliveryId
from agents_sdk.core.ledger.scribe import Refusal

ATTEMPTS_LIMIT: Final = 1_000
WAIT_LIMIT_MS: Final = 7 * 86_400_000
"""A week."""
FACTOR_LIMIT: Final = 10_000
"""Percent: a hundred times as long after each attempt."""
TEXT_LIMIT: Final = 500
"""Characters of a policy."""
SLICES: Final = 1 << 32


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """How often a message is tried, and how long is waited in between."""

    attempts: int = 0
    """The first one included; 0: as many as the agent's max_deliveries."""
    initial_ms: int = 0
    """After the first failed attempt; 0: the next one is made at once."""
    factor_percent: int = 100
    """How much longer each wait is than the one before: 200 is twice as long."""
    max_ms: int = WAIT_LIMIT_MS
    """No wait is longer."""
    jitter_percent: int = 0
    """How much of a wait may be taken off by chance."""


AT_ONCE: Final = Policy()


def check(retries: Mapping[str, str]) -> None:
    """Raises Refusal where a policy is none."""
    for name, text in retries.items():
        problem = _problem(text)
        if problem:
            raise Refusal("invalid_command", f"retries[{name[:200]!r}]: {problem}", field="retries")


def _problem(text: str) -> str:
    if len(text) > TEXT_LIMIT:
        return f"a policy has at most {TEXT_LIMIT} characters, not {len(text)}"
    try:
        policy = msgspec.json.decode(text, type=Policy)
    except msgspec.DecodeError as error:
        return f"no policy: {error}"
    bounds = {
        "attempts": (0, ATTEMPTS_LIMIT),
        "initial_ms": (0, WAIT_LIMIT_MS),
        "factor_percent": (100, FACTOR_LIMIT),
        "max_ms": (0, WAIT_LIMIT_MS),
        "jitter_percent": (0, 100),
    }
    for field, (least, most) in bounds.items():
        value: int = getattr(policy, field)
        if not least <= value <= most:
            return f"{field} is {least} to {most}, not {value}"
    return ""


def most_specific(patterns: Iterable[str], name: str) -> str | None:
    """The handler of a message: that of its exact name, else that of the name with the most characters besides ``*``.
    The pattern itself decides between equals. None where none matches."""
    matching = [pattern for pattern in patterns if pattern == name or fnmatchcase(name, pattern)]
    return max(matching, key=lambda one: (one == name, len(one) - one.count("*"), one), default=None)


def policy_for(retries: Mapping[str, str], subscriptions: Iterable[str], name: str) -> Policy:
    """The policy that holds for a message: its handler's, else the agent's, else no wait."""
    if not retries:
        return AT_ONCE
    handler = most_specific(subscriptions, name)
    text = retries.get(handler, "") if handler is not None else ""
    text = text or retries.get("", "")
    return msgspec.json.decode(text, type=Policy) if text else AT_ONCE


def wait_ms(policy: Policy, attempt: int, delivery_id: DeliveryId) -> int:
    """How long is waited after the failure of this attempt, milliseconds."""
    wait = min(policy.initial_ms, policy.max_ms)
    for _ in range(attempt - 1):
        if wait >= policy.max_ms or policy.factor_percent == 100:
            break
        wait = min(wait * policy.factor_percent // 100, policy.max_ms)
    chance = int(ids.sha256(f"{delivery_id}/{attempt}")[:8], 16)
    return wait - wait * policy.jitter_percent * chance // (100 * SLICES)
