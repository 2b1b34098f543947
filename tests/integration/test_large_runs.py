"""A run that is larger than a Kafka record: its snapshot comes back whole, and the ledger never stops for it."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Iterator
from typing import Final

import pytest

from agents_sdk import AsyncBackplane, Settings
from backplane.platform.platform import LocalPlatform
from tests.support.eventually import assert_eventually
from tests.support.ledgers import LedgerProcess
from tests.support.prepared import Prepared

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
LARGE: Final = 8
"""Values of nearly a megabyte: 7.2 MB, where a record has 4 MB at most."""
SMALL: Final = 120
BETWEEN: Final = 60
"""Facts between two snapshots."""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, prepared: Prepared) -> Iterator[Settings]:
    """Kafka and the registry, with topics and schemas; the ledger is the test's own."""
    with LocalPlatform(
        prepared.copy(tmp_path_factory.mktemp("large")), parts=("kafka", "registry", "topics")
    ) as running:
        yield running.settings


async def test_snapshot_of_a_run_that_is_larger_than_a_record(settings: Settings) -> None:
    """Killed behind the snapshot, its ledger comes back with every value, from the snapshot and not from all facts."""
    worker = LedgerProcess(settings, facts_between=BETWEEN)
    await asyncio.to_thread(worker.__enter__)
    try:
        async with AsyncBackplane.connect(settings, name="tester") as backplane:
            run = await backplane.start_run("large", complete_when="explicit")
            values = {f"large.{number}": chr(ord("a") + number) * 900_000 for number in range(LARGE)}
            for key, value in values.items():
                await run.state.set(key, value)
            for number in range(SMALL):
                await run.state.set(f"small.{number}", number)

            def taken() -> int:
                said = worker.log.read_text()
                assert "snapshot of" in said
                return len(re.findall("snapshot of", said))

            before = await asyncio.to_thread(assert_eventually, taken)
            await run.state.set("last", before)
            first = worker.process
            await asyncio.to_thread(worker.end, signal.SIGKILL)
            worker.log.write_text("")
            await asyncio.to_thread(worker.__enter__)
            assert first is not worker.process
            found = [await run.state.get(key) for key in values]
            assert found == list(values.values())
            listed = await run.state.list("small.")
            assert len(listed) == SMALL
            folded = [int(count) for count in re.findall(r"(\d+) facts folded", worker.log.read_text())]
            assert 0 < sum(folded) < SMALL, "it began at the snapshot"
            assert "not readable" not in worker.log.read_text()
            await run.complete()
    finally:
        await asyncio.to_thread(worker.end)


async def test_what_is_folded_does_not_grow_with_the_number_of_deaths(settings: Settings) -> None:
    """A ledger that is killed more often than it would take a snapshot takes one as soon as it has folded many facts:
    each life folds what the one before wrote, and not what all of them did."""
    each, lives, between = 300, 4, 400
    worker = LedgerProcess(settings, facts_between=between)
    await asyncio.to_thread(worker.__enter__)
    folded: list[int] = []
    try:
        async with AsyncBackplane.connect(settings, name="tester") as backplane:
            run = await backplane.start_run("mortal", complete_when="explicit")
            for life in range(lives):
                await asyncio.gather(*(run.state.set(f"key.{number}", life) for number in range(each)))

                def taken() -> None:
                    assert re.search("snapshot of", worker.log.read_text())

                if folded and folded[-1] > between // 10:
                    await asyncio.to_thread(assert_eventually, taken)
                await asyncio.to_thread(worker.end, signal.SIGKILL)
                worker.log.write_text("")
                await asyncio.to_thread(worker.__enter__)
                found = re.findall(r"(\d+) facts folded", worker.log.read_text())
                folded.append(max(int(count) for count in found))
            await run.complete()
    finally:
        await asyncio.to_thread(worker.end)
    assert max(folded) < 2 * each, folded
