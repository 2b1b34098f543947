"""The thread that reads for an event loop: what comes is handed on in order and in batches, and closing ends it."""

from __future__ import annotations

import asyncio
import queue
import threading
from typing import Any, cast

from agents_sdk.wire.reader_thread import ReaderThread
from tests.support.eventually import assert_eventually


class Consumer:
    """Gives numbers as they are put."""

    def __init__(self) -> None:
        self.there: queue.Queue[int] = queue.Queue()
        self.closed = threading.Event()
        self.closed_by = ""

    def poll(self, timeout: float) -> int | None:
        try:
            return self.there.get(timeout=timeout)
        except queue.Empty:
            return None

    def consume(self, most: int, timeout: float) -> list[int]:
        found: list[int] = []
        while len(found) < most and not self.there.empty():
            found.append(self.there.get())
        return found

    def close(self) -> None:
        self.closed_by = threading.current_thread().name
        self.closed.set()


def odd(message: Any) -> str | None:
    """Odd numbers as text; the others are passed over."""
    return str(message) if message % 2 else None


def thread(loop: asyncio.AbstractEventLoop, arrived: list[list[str]], most: int = 3) -> ReaderThread[str]:
    return ReaderThread("reader", loop, odd, arrived.append, most)


async def test_what_is_kept_arrives_on_the_loop_in_order_and_in_batches() -> None:
    """``most`` messages and one at most together; a batch of which nothing is kept is none."""
    consumer, arrived, between = Consumer(), list[list[str]](), list[str]()
    for number in (2, 4, 6, 8, *range(10)):
        consumer.there.put(number)
    reader = thread(asyncio.get_running_loop(), arrived)
    reader.start(lambda: cast("Any", consumer), lambda: between.append(threading.current_thread().name))
    while sum(map(len, arrived)) < 5:
        await asyncio.sleep(0.01)
    await asyncio.to_thread(reader.close)
    assert arrived == [["1", "3"], ["5", "7"], ["9"]]
    assert consumer.closed_by == "reader"
    assert set(between) == {"reader"}


async def test_a_record_wakes_the_thread_at_once_and_closing_twice_does_no_harm() -> None:
    """Also before it was started."""
    consumer, arrived = Consumer(), list[list[str]]()
    thread(asyncio.get_running_loop(), arrived).close()
    reader = thread(asyncio.get_running_loop(), arrived)
    reader.start(lambda: cast("Any", consumer))
    consumer.there.put(1)
    while not arrived:
        await asyncio.sleep(0.01)
    await asyncio.to_thread(reader.close)
    reader.close()
    assert arrived == [["1"]]


def test_a_loop_that_was_closed_ends_the_thread() -> None:
    """Nobody is left to hear it; the consumer is closed."""
    loop, consumer = asyncio.new_event_loop(), Consumer()
    loop.close()
    reader = thread(loop, [])
    reader.start(lambda: cast("Any", consumer))
    consumer.there.put(1)
    assert_eventually(lambda: _is_set(consumer.closed))
    reader.close()


def _is_set(event: threading.Event) -> None:
    assert event.is_set()
