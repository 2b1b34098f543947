"""The start of a worker: waits until the registry and Kafka have what it needs; and begins again where they went away.

A worker ends for what an operator must mend. Where Kafka goes away while it starts or works, its process begins again
from the command line that it was started with, and waits here.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import Collection, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import KafkaError, KafkaException

from agents_sdk.errors import BackplaneError
from agents_sdk.patience import Patience
from agents_sdk.wire.codec import Codec
from agents_sdk.wire.registry import connect_codec
from agents_sdk.wire.topics_admin import PASSING, TopicsNotApplied, connect, existing

if TYPE_CHECKING:
    from agents_sdk.settings import Settings

AGAIN_S: Final = 1.0
"""Before a process begins again: Kafka may answer one question and no other."""
PASSING_NAMES: Final = frozenset({"KafkaConnectionError", "NodeNotReadyError", "KafkaTimeoutError", *PASSING})
"""Of aiokafka's errors, and of librdkafka's codes."""


def reached(settings: Settings, needed: Collection[str], patience: Patience) -> Codec:
    """The codec, when the registry has the schemas and Kafka the topics ``needed``. Waits, and says so once. Raises
    what an operator must mend: NotConfigured, SchemasNotApplied, TopicsNotApplied, SchemaRejected."""
    with patience.together():
        loop = asyncio.new_event_loop()  # not asyncio.run: it would leave faust, which comes next, without a loop
        try:
            return loop.run_until_complete(_reached(settings, needed, patience))
        finally:
            for task in asyncio.all_tasks(loop):
                task.cancel()
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()


async def _reached(settings: Settings, needed: Collection[str], patience: Patience) -> Codec:
    """Both are asked side by side: others wait for a process that takes a dead one's place."""
    codec, _ = await asyncio.gather(
        patience.until(partial(asyncio.to_thread, connect_codec, settings)),
        patience.until(partial(asyncio.to_thread, _has_topics, settings, needed)),
    )
    return codec


def _has_topics(settings: Settings, needed: Collection[str]) -> None:
    there = existing(connect(settings), settings)
    for topic in needed:
        if topic not in there:
            raise TopicsNotApplied(f"there is no topic {topic!r}", hint=TopicsNotApplied.hint, topic=topic)


def away(error: BaseException | None) -> bool:
    """Whether the error, or one that it came of, says that Kafka or the registry cannot be reached."""
    return any(_away(each) for each in _chain(error))


def _away(error: BaseException) -> bool:
    if isinstance(error, ConnectionError) or (isinstance(error, BackplaneError) and error.passes):
        return True
    code: Any = error.args[0] if isinstance(error, KafkaException) else None
    return (code.name() if isinstance(code, KafkaError) else type(error).__name__) in PASSING_NAMES


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def begin_again(why: BaseException, log: logging.Logger) -> None:
    """Replaces this process by a new one of the same command line. Does not return."""
    log.warning("beginning again, since the platform went away: %s: %s", type(why).__name__, why)
    time.sleep(AGAIN_S)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606  # as it was started
