"""Waits for the platform: what cannot be reached is tried again until it can be, and that is said once.

A process ends at its start only for what an operator must mend: a setting, a key, a refusal, a schema that nobody has
applied. ``backplane up`` applies topics and schemas within seconds, so those are waited for as well, but not for ever.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from agents_sdk.errors import BackplaneError, Unanswered

T = TypeVar("T")
FIRST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 5.0
APPLYING_S: Final = 60.0
"""How long topics and schemas are waited for that are not there."""
SLOW_S: Final = 5.0
"""An answer that takes longer is worth a word."""
NOT_APPLIED: Final = frozenset({"topics_not_applied", "schemas_not_applied"})
"""Codes of errors that say so."""


class Patience:
    """The waiting of one process. Steps may wait side by side; the first of them says so, and the last that goes on."""

    def __init__(self, log: logging.Logger, now: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._now = now
        self._waiting = 0
        self._together = 0
        self._said = False

    @contextmanager
    def together(self) -> Iterator[None]:
        """The steps within are one wait, however many of them have to wait: a platform that starts answers one question
        and not yet the next."""
        self._together += 1
        reached = False
        try:
            yield
            reached = True
        finally:
            self._together -= 1
            self._over(reached=reached)

    async def until(self, step: Callable[[], Awaitable[T]]) -> T:
        """The result of the step, when it returns. Raises what it raises, but for what passes."""
        with _Step(self) as waits:
            while True:
                try:
                    return await step()
                except BackplaneError as error:
                    await asyncio.sleep(waits.pause(error))

    def until_blocking(self, step: Callable[[], T], stop: threading.Event | None = None) -> T:
        """As ``until``, for a process that has no event loop yet. Raises what the step raised last where ``stop`` is
        set."""
        stop = stop or threading.Event()
        with _Step(self) as waits:
            while True:
                try:
                    return step()
                except BackplaneError as error:
                    if stop.wait(waits.pause(error)):
                        raise

    async def answered(self, asked: Awaitable[T], what: str) -> T:
        """The answer, however long it takes; where that is long, it is said what is missing."""
        task = asyncio.ensure_future(asked)
        try:
            done, _ = await asyncio.wait({task}, timeout=SLOW_S)
            if done:
                return await task
            with _Step(self) as waits:
                waits.pause(Unanswered(what))
                return await task
        finally:
            task.cancel()

    def _begun(self, error: BackplaneError) -> None:
        if not self._said:
            self._log.warning("waiting for the platform: %s%s", error.message, f" ({error.hint})" if error.hint else "")
        self._said = True
        self._waiting += 1

    def _ended(self, *, reached: bool) -> None:
        self._waiting -= 1
        self._over(reached=reached)

    def _over(self, *, reached: bool) -> None:
        if self._waiting or self._together or not self._said:
            return
        self._said = False
        if reached:
            self._log.warning("the platform answers; going on")


class _Step:
    """One step that may have to wait."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._pause = FIRST_PAUSE_S
        self._missing_since: float | None = None
        self._waits = False

    def __enter__(self) -> _Step:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._waits:
            self._patience._ended(reached=kind is None)

    def pause(self, error: BackplaneError) -> float:
        """Seconds to wait before the step is tried again. Raises the error where waiting mends nothing."""
        missing = error.code in NOT_APPLIED
        if not missing and not error.passes:
            raise error
        now = self._patience._now()
        if not missing:
            self._missing_since = None
        elif self._missing_since is None:
            self._missing_since = now
        elif now - self._missing_since >= APPLYING_S:
            raise error
        if not self._waits:
            self._waits = True
            self._patience._begun(error)
        pause, self._pause = self._pause, min(self._pause * 2, LONGEST_PAUSE_S)
        # spread, or all processes that wait would come back in the same moment
        return pause * random.uniform(0.5, 1.0)  # noqa: S311  # hides nothing
