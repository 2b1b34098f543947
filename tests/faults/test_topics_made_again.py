"""A topic that is deleted and made again, so that the place of its reader exists in the new one as well."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition

from agents_sdk import AsyncBackplane, Settings
from agents_sdk.core.partition import partition_of
from agents_sdk.scope import new_id
from agents_sdk.topics import inbox
from agents_sdk.wire.topics_admin import connect, ensure_inbox
from backplane.platform.platform import LocalPlatform
from backplane.runtime import clients
from tests.support.eventually import assert_eventually
from tests.support.live_agents import Process, processes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def ends(settings: Settings, topic: str) -> list[int]:
    """Where each partition ends now."""
    consumer = clients.reader(settings.kafka)
    try:
        numbers = range(settings.topics.partitions)
        return [int(consumer.get_watermark_offsets(TopicPartition(topic, n), timeout=10)[1]) for n in numbers]
    finally:
        consumer.close()


def make_again(settings: Settings, agent: str) -> None:
    """Deletes the inbox, and makes an empty one of the same name."""
    topic, admin = inbox(agent), connect(settings)
    admin.delete_topics([topic])[topic].result(30)

    def gone() -> None:
        assert topic not in admin.list_topics(timeout=10).topics

    assert_eventually(gone)
    ensure_inbox(settings, agent)


async def test_an_inbox_made_again_is_read_from_its_beginning(platform: LocalPlatform, tmp_path: Path) -> None:
    """The agent stands still meanwhile: when it goes on, its places are in the middle of the new inbox."""
    settings = platform.settings
    journal = tmp_path / "journal"
    agents = Process(settings, "shared", instance="one")
    with processes(agents):
        async with AsyncBackplane.connect(settings) as backplane:

            async def run_in_each_partition(count: int) -> list[str]:
                left = dict.fromkeys(range(settings.topics.partitions), count)
                names = []
                while any(left.values()):
                    name = new_id()
                    if left[partition_of(name, settings.topics.partitions)]:
                        left[partition_of(name, settings.topics.partitions)] -= 1
                        names.append(name)
                data = {"journal": str(journal)}
                return [(await backplane.start_run("shared", data, run_id=name)).id for name in names]

            first = await run_in_each_partition(1)
            for name in first:
                assert (await backplane.run(name).wait(30)).status == "completed"
            before = await asyncio.to_thread(ends, settings, inbox("shared"))

            os.kill(agents.process.pid, signal.SIGSTOP)
            await asyncio.to_thread(make_again, settings, "shared")
            second = await run_in_each_partition(2)

            def filled() -> None:
                assert all(now >= then for now, then in zip(ends(settings, inbox("shared")), before, strict=True))

            await asyncio.to_thread(assert_eventually, filled)
            os.kill(agents.process.pid, signal.SIGCONT)
            for name in second:
                assert (await backplane.run(name).wait(30)).status == "completed"
    handled = [line.split()[0] for line in journal.read_text().splitlines()]
    assert sorted(handled) == sorted([*first, *second])
