"""A lane passes what comes, in order, however slow it is; held back it passes nothing, cut it breaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from backplane.platform import ports
from tests.support.chaos.lane import Lane


@pytest.fixture
async def lane() -> AsyncIterator[Lane]:
    """In front of a server that says what it hears."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        writer.close()

    chosen = ports.choose(["echo", "lane"], {})
    server = await asyncio.start_server(echo, "127.0.0.1", chosen["echo"])
    opened = await asyncio.to_thread(Lane(chosen["lane"], chosen["echo"]).__enter__)
    yield opened
    await asyncio.to_thread(opened.__exit__, None, None, None)
    server.close()


async def test_bytes_come_in_order_also_where_they_are_delayed(lane: Lane) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", lane.port)
    lane.delay_s = lane.jitter_s = 0.002
    sent = b"".join(number.to_bytes(4, "big") for number in range(20_000))
    writer.write(sent)
    writer.write_eof()
    assert await asyncio.wait_for(reader.read(-1), 30) == sent
    writer.close()


async def test_nothing_passes_while_it_is_held_and_all_of_it_then(lane: Lane) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", lane.port)
    writer.write(b"a")
    assert await asyncio.wait_for(reader.readexactly(1), 10) == b"a"
    lane.hold()
    writer.write(b"bc")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.readexactly(1), 0.2)
    lane.release()
    assert await asyncio.wait_for(reader.readexactly(2), 10) == b"bc"
    writer.close()


async def test_connections_break_where_it_is_cut_and_new_ones_are_taken(lane: Lane) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", lane.port)
    writer.write(b"a")
    await asyncio.wait_for(reader.readexactly(1), 10)
    lane.cut()
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await asyncio.wait_for(reader.readexactly(1), 10)
    writer.close()
    reader, writer = await asyncio.open_connection("127.0.0.1", lane.port)
    writer.write(b"b")
    assert await asyncio.wait_for(reader.readexactly(1), 10) == b"b"
    writer.close()
