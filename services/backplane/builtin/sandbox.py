"""``code_execution``: a Python snippet in Monty, an interpreter that has no way to files, sockets or processes.

A mistake of the snippet is its result (``error``), not a failure of the call: running it again would do the same. Each
snippet has a worker process to itself; one that kills it costs that worker.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import pydantic_monty as monty

from backplane.providers.python import ProviderContext
from backplane.recovery.outcome import Blob, ProviderError

STDOUT_CHARS: Final = 64 * 1024
"""Of printed text that is kept; a model reads less, and the log must not carry a flood."""
RECURSION: Final = 500
TURNS: Final = 1_000
"""Sleeps and other requests of one snippet to its host."""
BACKSTOP_SECONDS: Final = 40
"""The pool kills a worker that takes longer; above the 30 s that a snippet may ask for."""
INT_LIMIT: Final = 2**63


class _PrintBuffer:
    """Collects what is printed, up to a limit."""

    def __init__(self) -> None:
        self.truncated = False
        self._parts: list[str] = []
        self._room = STDOUT_CHARS

    def __call__(self, stream: str, text: str) -> None:
        self.truncated = self.truncated or len(text) > self._room
        self._parts.append(text[: self._room])
        self._room -= len(self._parts[-1])

    def text(self) -> str:
        return "".join(self._parts)


def code_execution(params: Mapping[str, Any], context: ProviderContext) -> dict[str, Any]:
    """Value, printed text and error of the snippet."""
    pool = context.resources.get("monty", _start)
    printed = _PrintBuffer()
    value, error = None, None
    try:
        with pool.checkout(limits=_limits(params), os_policy=_policy(params)) as session:
            value = session.feed_run(
                str(params["code"]), inputs=dict(params.get("inputs") or {}), print_callback=printed
            )
    except (monty.MontyRuntimeError, monty.MontySyntaxError) as raised:
        error = _described(raised)
    except monty.MontyCrashedError as crash:
        kind = "TimeoutError" if crash.timed_out else "SandboxCrashed"
        error = {"type": kind, "message": f"the snippet took its sandbox down: {crash}", "traceback": ""}
    except monty.MontyConversionError as unfit:
        raise ProviderError("invalid_request", f"inputs cannot be given to the snippet: {unfit}") from unfit
    return {"value": plain(value), "stdout": printed.text(), "stdout_truncated": printed.truncated, "error": error}


def _start() -> monty.Monty:
    """The workers of this process; they end with it, since they read their work from a pipe to it."""
    pool = monty.Monty(min_processes=1, request_timeout=BACKSTOP_SECONDS)
    return pool.__enter__()


def _limits(params: Mapping[str, Any]) -> monty.ResourceLimits:
    seconds = float(params.get("max_seconds", 5))
    return {
        "max_feed_duration_secs": seconds,
        "max_total_sleep_secs": seconds,
        "max_memory": int(params.get("max_memory_mb", 64)) * 1024 * 1024,
        "max_recursion_depth": RECURSION,
        "max_suspensions": TURNS,
    }


def _policy(params: Mapping[str, Any]) -> monty.OSPolicy | None:
    return {"random_start": {"seed": int(params["seed"])}} if params.get("seed") is not None else None


def _described(raised: monty.MontyRuntimeError | monty.MontySyntaxError) -> dict[str, str]:
    kind, _, message = raised.display("type-msg").partition(":")
    return {"type": kind.strip(), "message": message.strip(), "traceback": raised.display("traceback")}


def plain(value: Any) -> Any:
    """The value as JSON: tuples and sets are lists, bytes an artifact, anything that JSON has no form for its text."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        # the log's JSON has integers of 64 bits
        return value if -INT_LIMIT <= value < INT_LIMIT else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    return Blob(value, "application/octet-stream") if isinstance(value, bytes) else str(value)
