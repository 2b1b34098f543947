"""Processes that run agents: they share the work, and are killed and stopped in the middle of it."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from agents_sdk import (
    AsyncBackplane,
    Settings,
)
from agents_sdk.core.facts import DecisionEvent, StateEvent
from agents_sdk.core.partition import partition_of
from agents_sdk.history import read_run
from agents_sdk.run import AsyncRun
from agents_sdk.scope import new_id
from agents_sdk.wire.registry import connect_codec
from tests.support.eventually import assert_eventually, assert_soon
from tests.support.live_agents import Process, own, processes

pytestmark = pytest.mark.timeout(300)


@pytest.mark.slow
async def test_processes_share_an_agents_inbox(settings: Settings, tmp_path: Path) -> None:
    """Two processes of one agent, runs in every partition: each run is handled by one of them, once, and both work."""
    journal = tmp_path / "journal"
    first, second = Process(settings, "shared"), Process(settings, "shared")
    with processes(first, second):
        await asyncio.to_thread(assert_eventually, lambda: _members(settings, "bp.agent.shared", 2))
        async with AsyncBackplane.connect(settings) as backplane:
            wanted = dict.fromkeys(range(settings.topics.partitions), 2)
            runs = []
            while any(wanted.values()):
                run_id = new_id()
                if wanted[partition_of(run_id, settings.topics.partitions)]:
                    wanted[partition_of(run_id, settings.topics.partitions)] -= 1
                    runs.append(await backplane.start_run("shared", {"journal": str(journal)}, run_id=run_id))
            ended = await asyncio.gather(*(run.wait(30) for run in runs))

    assert {end.status for end in ended} == {"completed"}
    lines = [line.split() for line in journal.read_text().splitlines()]
    assert sorted(run_id for run_id, _ in lines) == sorted(run.id for run in runs)
    assert {int(pid) for _, pid in lines} == {first.process.pid, second.process.pid}


@pytest.mark.slow
async def test_the_others_of_its_machine_see_a_process_die(settings: Settings, tmp_path: Path) -> None:
    """They take it out of its group, without waiting for its session to end, and do its work."""
    first, second = (Process(settings, "shared", instance=own(f"twin{number}")) for number in (1, 2))
    folder = Path(settings.data_dir) / "members"
    with processes(first, second):
        await asyncio.to_thread(assert_eventually, lambda: _members(settings, "bp.agent.shared", 2))
        there = {path: path.stat().st_ino for path in folder.glob("*/*twin*")}
        assert len(there) == 2
        first.end(signal.SIGKILL)
        await asyncio.to_thread(assert_eventually, lambda: _gone(there))
        await asyncio.to_thread(assert_eventually, lambda: _members(settings, "bp.agent.shared", 1))
        async with AsyncBackplane.connect(settings) as backplane:
            runs = [await backplane.start_run("shared", {"journal": str(tmp_path / "journal")}) for _ in range(8)]
            ended = await asyncio.gather(*(run.wait(30) for run in runs))
    assert {end.status for end in ended} == {"completed"}


def _gone(files: dict[Path, int]) -> None:
    """Whoever takes a dead process out of its groups removes its file."""
    assert sum(path.exists() for path in files) == 1


def _members(settings: Settings, group: str, count: int) -> None:
    admin = AdminClient(dict(settings.kafka))  # kept: the answer never comes to one that was collected
    found = admin.describe_consumer_groups([group], request_timeout=10.0)[group].result(15.0)
    assert found.state.name == "STABLE", found.state
    assert len([one for one in found.members if one.assignment.topic_partitions]) == count


async def _begun(run: AsyncRun) -> None:
    """Waits until the run's handler has taken its first step."""

    async def stepped() -> None:
        assert await run.state.get("step.0") is not None

    await assert_soon(stepped, 60)


@pytest.mark.slow
async def test_killed_process_loses_and_repeats_nothing(settings: Settings) -> None:
    """Two processes share an agent; one is killed in the middle of its handlers; every effect is there once."""
    first, second = Process(settings, "steady"), Process(settings, "steady")
    with processes(first, second):
        async with AsyncBackplane.connect(settings) as backplane:
            runs = [await backplane.start_run("steady", {"pause_s": 0.1}) for _ in range(12)]
            await asyncio.sleep(0.5)
            first.end(signal.SIGKILL)
            ended = await asyncio.gather(*(run.wait(60) for run in runs))

        assert {end.status for end in ended} == {"completed"}
        codec = connect_codec(settings)
        for run in runs:
            facts = await asyncio.to_thread(read_run, settings, codec, run.id, until_ended_s=10.0)
            written = [(fact.key, fact.version) for fact in facts if isinstance(fact, StateEvent)]
            assert written == [(f"step.{step}", 1) for step in range(10)]
            assert [fact.action for fact in facts if isinstance(fact, DecisionEvent)] == [
                f"step {step}" for step in range(10)
            ]
        assert second.end() == 0


@pytest.mark.slow
async def test_stopped_process_ends_what_it_began(settings: Settings) -> None:
    """SIGTERM: running handlers are let finish, and the process ends well."""
    agents = Process(settings, "steady")
    with processes(agents):
        async with AsyncBackplane.connect(settings) as backplane:
            run = await backplane.start_run("steady", {"pause_s": 0.1})
            await _begun(run)
            assert agents.end() == 0
            ended = await run.wait(5)

    assert ended.status == "completed"


@pytest.mark.slow
async def test_process_with_a_kept_name_is_a_static_member(settings: Settings) -> None:
    """So that one which was killed and comes back need not wait for its own session to time out."""
    async with AsyncBackplane.connect(settings) as backplane:
        first = Process(settings, "steady", instance="one")
        with processes(first):
            run = await backplane.start_run("steady", {"pause_s": 0.05})
            await _begun(run)
            assert await asyncio.to_thread(_static_members, settings, "bp.agent.steady") == {"bp.agent.steady-one"}
            first.end(signal.SIGKILL)
        with processes(Process(settings, "steady", instance="one")):
            assert (await run.wait(30)).status == "completed"


def _static_members(settings: Settings, group: str) -> set[str]:
    admin = AdminClient(dict(settings.kafka))  # kept: the answer never comes to one that was collected
    found = admin.describe_consumer_groups([group], request_timeout=10.0)[group].result(15.0)
    return {member.group_instance_id for member in found.members}
