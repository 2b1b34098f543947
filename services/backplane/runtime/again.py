"""Doing something again while the broker or the registry is away: a connection that breaks must not end a process.

A failure that passes is said once a minute, and the work is done again from its beginning. Any other is raised.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from aiokafka.errors import KafkaError as DriverError
from confluent_kafka import KafkaError, KafkaException

from agents_sdk.errors import BackplaneError
from agents_sdk.wire.topics_admin import PASSING

T = TypeVar("T")

FIRST_S: Final = 0.1
LATEST_S: Final = 5.0
SAY_AGAIN_S: Final = 60.0
"""An operator who looks why a worker is still starting finds it in the newest lines of its log."""
PASSES: Final = frozenset(getattr(KafkaError, name) for name in PASSING)
"""Errors of a broker that is away, slow, or just taking over."""


def passes(failure: KafkaException | DriverError | BackplaneError) -> bool:
    """Whether the same may succeed later; aiokafka's errors and our own say so themselves."""
    if isinstance(failure, BackplaneError):
        return failure.passes
    if isinstance(failure, DriverError):
        return bool(failure.retriable)
    error = failure.args[0]
    return not error.fatal() and (error.retriable() or error.code() in PASSES)


async def until_done(log: logging.Logger, what: str, do: Callable[[], Awaitable[T]], first_s: float = FIRST_S) -> T:
    """The value of ``do``, done again for as long as its failures pass. Raises any other failure of it."""
    wait, said_at, clock = first_s, float("-inf"), asyncio.get_running_loop().time
    began = clock()
    while True:
        try:
            return await do()
        except (KafkaException, DriverError, BackplaneError) as failure:
            if not passes(failure):
                raise
            if clock() - said_at >= SAY_AGAIN_S:
                said_at = clock()
                log.warning("%s: done again until it succeeds, for %.0f s by now: %s", what, said_at - began, failure)
        await asyncio.sleep(wait)
        wait = min(wait * 2, LATEST_S)
