"""Batches that inflate to more than a record may have are refused by the broker where all clients read.

librdkafka inflates gzip to whatever it gives: 1 MB took 2.7 GB of a reader. Facts and commands are kept as they come,
since they are kept for long; only the ledger may write facts, and it reads commands within its own bounds.
"""

from __future__ import annotations

import asyncio
from typing import Final

import pytest

from agents_sdk import AsyncBackplane, Settings
from agents_sdk.topics import BREAKERS, CAPABILITIES, PROVIDERS, REPLIES, SWITCHES, inbox
from agents_sdk.wire.topics_admin import ensure_inbox
from tests.support.live_agents import own
from tests.support.raw_records import CODECS, Raw, RawProducer, Refused, batch

pytestmark = pytest.mark.slow
TOO_LARGE: Final = 10
BOMBS: Final = {codec: batch([Raw(b"k", b"\0" * 30_000_000)], codec) for codec in CODECS if codec != "none"}
READ_BY_CLIENTS: Final = (REPLIES, CAPABILITIES, SWITCHES, PROVIDERS, BREAKERS)


@pytest.fixture(scope="module")
def topics(settings: Settings) -> list[str]:
    agent = own("bombed")
    ensure_inbox(settings, agent)
    return [*READ_BY_CLIENTS, inbox(agent)]


@pytest.mark.parametrize("codec", BOMBS)
def test_a_bomb_is_refused_at_the_door(codec: str, settings: Settings, topics: list[str]) -> None:
    """Each codec, each topic; what is large and allowed is taken, compressed as well."""
    raw = RawProducer(settings.kafka)
    for topic in topics:
        with pytest.raises(Refused) as refused:
            raw.send(topic, 0, BOMBS[codec])
        assert refused.value.code == TOO_LARGE, topic
    raw.send(topics[-1], 0, batch([Raw(b"k", b"\0" * 4_000_000)], codec))
    raw.close()


async def test_large_answers_still_come(backplane: AsyncBackplane, settings: Settings) -> None:
    """A state value of a megabyte, written and read over the topic of answers."""
    run = await backplane.start_run("contracts.large", complete_when="explicit")
    text = "x" * 900_000
    await asyncio.gather(*(run.state.set(f"k{number}", text) for number in range(3)))
    assert [await run.state.get(f"k{number}") for number in range(3)] == [text] * 3
    await run.complete()
