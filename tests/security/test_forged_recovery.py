"""What a ledger recovers from, on a real broker: forged and copied facts and snapshots change nothing in its book."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from agents_sdk import AsyncBackplane, Settings, load_settings
from agents_sdk.core.facts import RunEvent, StateEvent
from agents_sdk.core.partition import partition_of
from agents_sdk.history import read_run
from agents_sdk.keys import UNPROVEN, make_master
from agents_sdk.settings_model import Identity
from agents_sdk.topics import RUNS, STATE
from agents_sdk.wire.registry import connect_codec
from backplane.platform.contracts import note_unproven
from backplane.platform.platform import LocalPlatform
from tests.support.dishonest import Dishonest
from tests.support.eventually import assert_eventually
from tests.support.ledgers import LedgerProcess
from tests.support.prepared import Prepared

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
SNAPSHOTS = "bp.ledger-snapshots-changelog"


@pytest.fixture
def settings(tmp_path: Path, prepared: Prepared) -> Iterator[Settings]:
    """Kafka and the registry, with topics and schemas; the ledger is the test's own."""
    with LocalPlatform(prepared.copy(tmp_path / "recovered"), parts=("kafka", "registry", "topics")) as running:
        yield running.settings


async def test_forged_facts_and_snapshots_change_nothing(settings: Settings) -> None:
    """Written while the ledger is away, for a run that lives: it goes on as it was, with its state."""
    attacker = Dishonest(settings, connect_codec(settings))
    worker = LedgerProcess(settings, facts_between=30)
    await asyncio.to_thread(worker.__enter__)
    try:
        async with AsyncBackplane.connect(settings, name="honest") as backplane:
            run = await backplane.start_run("kept", complete_when="explicit")
            over = await backplane.start_run("over", complete_when="explicit")
            await over.complete("done")
            for number in range(80):
                await run.state.set("n", number)
            await asyncio.to_thread(assert_eventually, lambda: _said(worker, "snapshot of"))
            await run.state.set("last", 1)
            await asyncio.to_thread(read_run, settings, attacker.codec, run.id)
            await asyncio.to_thread(worker.end, signal.SIGKILL)

            facts = await asyncio.to_thread(_lies, attacker, settings, run.id)
            snapshots = await asyncio.to_thread(attacker.read, SNAPSHOTS)
            entry = next(each for each in snapshots if run.id.encode() in (each.key or b"") and each.value)
            meta = [each for each in snapshots if b"/meta" in (each.key or b"")]
            assert meta
            forged = [
                entry._replace(value=(entry.value or b"").replace(b'"n"', b'"m"') + b" "),
                entry._replace(key=(entry.key or b"").replace(run.id.encode(), b"another")),
                *(each._replace(value=None) for each in meta[:1]),
            ]
            await asyncio.to_thread(attacker.write, *facts, *forged)

            worker.log.write_text("")
            fresh = LedgerProcess(settings, facts_between=30)  # with a table of its own, restored from the changelog
            await asyncio.to_thread(fresh.__enter__)
            worker = fresh
            assert await run.state.get("n") == 79
            assert await run.state.get("last") == 1
            assert [entry_.key for entry_ in await run.state.list("")] == ["last", "n"]
            said = worker.log.read_text()
            assert "snapshot not believed" in said
            # the log has one line for each topic, however many there are
            assert len(re.findall("is passed over", said)) >= 2, said
            await run.complete("truth")
            assert (await run.wait(timeout=20)).result == "truth"
            assert (await over.wait(timeout=20)).result == "done"
    finally:
        await asyncio.to_thread(worker.end)


def _lies(attacker: Dishonest, settings: Settings, run_id: str) -> list:  # type: ignore[type-arg]
    """Facts that would end the run, change its state, begin another one, or say again what was."""
    here = partition_of(run_id, settings.topics.partitions)
    runs = [each for each in attacker.read(RUNS) if each.partition == here]
    states = [each for each in attacker.read(STATE) if each.key == run_id.encode()]
    started = next(each for each in runs if each.key == run_id.encode())
    first, last = attacker.codec.decode(started.value), attacker.codec.decode(states[-1].value)
    assert isinstance(first, RunEvent)
    assert isinstance(last, StateEvent)
    after = {"run_seq": last.run_seq + 1, "command_offset": last.command_offset + 1}
    ended = msgspec.structs.replace(first, kind="RunCompleted", result='"lie"', **after)
    written = msgspec.structs.replace(last, value="-1", version=last.version + 1, **after)
    return [
        attacker.make(RUNS, here, run_id, ended),
        attacker.make(STATE, here, run_id, written),
        attacker.changed(states[-1], value="-2", **after),
        attacker.make(RUNS, here, "other", msgspec.structs.replace(first, run_id="other", command_offset=10**6)),
        *runs,
        *states[:3],
    ]


def _said(worker: LedgerProcess, words: str) -> None:
    assert words in worker.log.read_text()


async def test_data_of_an_earlier_release_is_believed_up_to_where_it_ends(settings: Settings, tmp_path: Path) -> None:
    """A ledger without keys wrote; with keys, what is noted as from before counts, and nothing unproven behind it."""
    keyless = load_settings(data_dir=settings.data_dir, kafka=settings.kafka, registry=settings.registry)
    assert keyless.identity.master_file is None
    worker = LedgerProcess(keyless)
    await asyncio.to_thread(worker.__enter__)
    try:
        async with AsyncBackplane.connect(keyless, name="honest") as backplane:
            run = await backplane.start_run("old", complete_when="explicit")
            await run.state.set("k", "from before")
        await asyncio.to_thread(worker.end)
        master = make_master(tmp_path / "keys")
        identity = Identity(master_file=master, keys_dir=tmp_path / "keys", unproven_file=tmp_path / "keys" / UNPROVEN)
        settings = settings.model_copy(update={"identity": identity})
        await asyncio.to_thread(note_unproven, settings)
        attacker = Dishonest(settings, connect_codec(settings))
        await asyncio.to_thread(attacker.write, *await asyncio.to_thread(_lies, attacker, settings, run.id))
        worker = LedgerProcess(settings)
        await asyncio.to_thread(worker.__enter__)
        async with AsyncBackplane.connect(settings, name="honest") as backplane:
            again = backplane.run(run.id)
            assert await again.state.get("k") == "from before"
            await again.complete("now")
            assert (await again.wait(timeout=20)).result == "now"
    finally:
        await asyncio.to_thread(worker.end)
