"""Waits for a provider's rate limits, within the time there is. The shell of ``backplane.recovery.rate``."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from agents_sdk.core import ids
from backplane.manifests.model import Rate
from backplane.recovery.outcome import AttemptOutcome, Failure
from backplane.recovery.rate import Entry, Window

CHARACTERS_PER_TOKEN: Final = 4
"""OpenAI's rule of thumb for English text; only an estimate until an attempt's own count is known."""


@dataclass(frozen=True, slots=True)
class _WindowUse:
    window: Window
    entry: Entry


class Throttle:
    """One provider's limits in this process."""

    def __init__(self, rate: Rate) -> None:
        self._requests = Window(rate.requests_per_minute) if rate.requests_per_minute else None
        self._tokens = Window(rate.tokens_per_minute) if rate.tokens_per_minute else None

    async def admit(self, params: Mapping[str, Any], until: float) -> Entry | Failure | None:
        """Returns when an attempt may begin, with the value for ``settle``. It returns a failure at once when that is
        not before ``until``, a time of the running loop."""
        tokens = self._tokens and max(1, len(ids.canonical(params)) // CHARACTERS_PER_TOKEN)
        return await _wait([(self._tokens, tokens or 0, "tokens"), (self._requests, 1, "requests")], until)

    async def another(self, until: float) -> Failure | None:
        """Returns when the attempt may make one more request, as ``admit``."""
        outcome = await _wait([(self._requests, 1, "requests")], until)
        return outcome if isinstance(outcome, Failure) else None

    def settle(self, booked: Entry | None, outcome: AttemptOutcome) -> None:
        """Counts the tokens that the attempt really took, where it says."""
        used = outcome.usage.input_tokens + outcome.usage.output_tokens
        if booked is not None and self._tokens is not None and used:
            self._tokens.correct(booked, used)


async def _wait(wanted: list[tuple[Window | None, int, str]], until: float) -> Entry | Failure | None:
    """Books all or nothing, and waits for the last of them; the first one's entry."""
    loop = asyncio.get_running_loop()
    booked: list[_WindowUse] = []
    for window, amount, what in wanted:
        if window is None:
            continue
        entry = window.book(amount, loop.time(), until)
        if not isinstance(entry, Entry):
            _cancel(booked)
            message = f"its {what} per minute are used up for another {entry:.1f} s, longer than this attempt has"
            return Failure(error_class="rate_limited", code="rate_used_up", message=message, retry_after=entry)
        booked.append(_WindowUse(window, entry))
    wait = max((each.entry.at for each in booked), default=0.0) - loop.time()
    if wait > 0:
        try:
            await asyncio.sleep(wait)
        except asyncio.CancelledError:
            _cancel(booked)
            raise
    return booked[0].entry if booked else None


def _cancel(booked: list[_WindowUse]) -> None:
    for each in booked:
        each.window.cancel(each.entry)
