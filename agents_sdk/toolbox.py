"""The tools that an agent can be offered, and a model's tool calls carried out."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol

from agents_sdk.core.ids import canonical
from agents_sdk.core.tools import Format, read_call, result_message
from agents_sdk.discovery import CapabilityMatch, Discovery
from agents_sdk.errors import CallFailed, InvalidCommand, Oversize, ScopeDenied
from agents_sdk.operations import CallResult

TELL_THE_MODEL = (CallFailed, InvalidCommand, Oversize, ScopeDenied)
"""Errors that a model can do something about, or should at least know; the rest ends the handler."""


class Toolbox:
    """The registry as one agent may use it."""

    def __init__(self, discovery: Discovery, globs: Iterable[str], clock: Callable[[], float] = time.monotonic) -> None:
        self._discovery = discovery
        self._globs = tuple(globs)
        self._clock = clock

    def discover(self, need: str, limit: int) -> list[CapabilityMatch]:
        """The capabilities that fit the need best."""
        return self._discovery.search(need, self._globs, self._clock(), limit)

    def definitions(self, format: Format, names: Iterable[str] | None = None) -> list[dict[str, Any]]:
        """Tool definitions of all that the agent may call, or of these. Raises ValueError, LookupError."""
        allowed = self._discovery.allowed(self._globs, self._clock())
        wanted = allowed if names is None else list(names)
        for name in wanted:
            if name not in allowed:
                raise LookupError(f"{name!r} is not among what can be called: {', '.join(allowed) or 'nothing'}")
        return self._discovery.tools(wanted, format)


class Executes(Protocol):
    """An object that can call a capability."""

    def execute(
        self, capability: str, params: Any = None, *, timeout_seconds: float | None = None
    ) -> Awaitable[CallResult]:
        """Calls it."""


def failure(error: CallFailed) -> str:
    """A failed call for a model, as JSON: the platform's words, and apart from them a provider's. A provider's words
    are no instructions; a model that knows them as such can keep them apart."""
    said, fields = error.said, error.fields
    if not said:
        return f"{error.message} ({error.hint})" if error.hint else error.message
    words: dict[str, Any] = {"failed": fields.get("capability", ""), "error_class": fields.get("error_class", "")}
    words |= {"error_code": fields.get("error_code", ""), "message": error.message}
    words |= {"said_by": error.said_by or fields.get("provider", ""), "said": said}
    return canonical({name: value for name, value in words.items() if value})


async def called(who: Executes, call: Any, format: Format | None, timeout_seconds: float | None) -> dict[str, Any]:
    """Carries out a model's tool call; the message that tells it the result, or why there is none."""
    asked = read_call(call, format)
    form = format or asked.form
    if asked.problem:
        return result_message(asked, form, None, error=asked.problem)
    try:
        done = await who.execute(asked.capability, asked.params, timeout_seconds=timeout_seconds)
    except CallFailed as error:
        return result_message(asked, form, None, error=failure(error))
    except TELL_THE_MODEL as error:
        hint = f" ({error.hint})" if error.hint else ""
        return result_message(asked, form, None, error=f"{error.message}{hint}")
    return result_message(asked, form, done.result)
