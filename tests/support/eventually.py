"""Waiting for what is true in a moment, without a fixed sleep."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

T = TypeVar("T")

EVERY_S: Final = 0.02
LIMIT_S: Final = 15.0
"""Long: it costs nothing when the test passes, and two busy processors take their time."""


def assert_eventually(check: Callable[[], T], limit_s: float = LIMIT_S) -> T:
    """What ``check`` returns once it raises no AssertionError; its last one when that takes longer than ``limit_s``."""
    deadline = time.monotonic() + limit_s
    while True:
        try:
            return check()
        except AssertionError:
            if time.monotonic() > deadline:
                raise
        time.sleep(EVERY_S)


async def assert_soon(check: Callable[[], Awaitable[T]], limit_s: float = LIMIT_S) -> T:
    """``assert_eventually`` for a coroutine function; the event loop goes on meanwhile."""
    deadline = time.monotonic() + limit_s
    while True:
        try:
            return await check()
        except AssertionError:
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(EVERY_S)
