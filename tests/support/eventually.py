"""Waiting for what is true in a moment, without a fixed sleep."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

T = TypeVar("T")

EVERY_S: Final = 0.02
"""Between two looks, and as long again as the last one took: what is waited for needs the processor too."""
LIMIT_S: Final = 15.0
"""Long: it costs nothing when the test passes, and two busy processors take their time."""


def assert_eventually(check: Callable[[], T], limit_s: float = LIMIT_S) -> T:
    """What ``check`` returns once it raises no AssertionError; its last one when that takes longer than ``limit_s``."""
    deadline = time.monotonic() + limit_s
    while True:
        began = time.monotonic()
        try:
            return check()
        except AssertionError:
            if time.monotonic() > deadline:
                raise
        time.sleep(EVERY_S + time.monotonic() - began)


async def assert_soon(check: Callable[[], Awaitable[T]], limit_s: float = LIMIT_S, every_s: float = EVERY_S) -> T:
    """``assert_eventually`` for a coroutine function; the event loop goes on meanwhile. ``every_s``: less often, where
    a look is work for those who are waited for."""
    deadline = time.monotonic() + limit_s
    while True:
        began = time.monotonic()
        try:
            return await check()
        except AssertionError:
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(every_s + time.monotonic() - began)
