"""Calls made in the agent's own process on a running platform: on the log as any other, whoever is killed meanwhile."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from agents_sdk import AsyncBackplane, Settings
from agents_sdk.core.facts import AttemptEvent, CallEvent, Fact
from agents_sdk.history import read_run
from agents_sdk.wire.registry import connect_codec
from backplane.cli import app as cli
from backplane.platform.platform import LocalPlatform
from tests.support.eventually import assert_eventually
from tests.support.live_agents import Process, processes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
NAME: Final = "sign"
SECONDS: Final = 6
"""What a call may take: less than a test."""


@pytest.fixture(scope="module")
def settings(platform: LocalPlatform, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Of the platform, with a capability that says where it was called."""
    folder = tmp_path_factory.mktemp("manifests")
    (folder / "sign.yaml").write_text(yaml.safe_dump(MANIFEST))
    assert cli.run(["capabilities", "apply", str(folder), "--data-dir", str(platform.layout.data_dir)]) == 0
    return platform.settings


MANIFEST: Final = {
    "name": NAME,
    "description": "Says which process it was asked in, for the tests about those.",
    "side_effects": "read",
    "timeout_seconds": SECONDS,
    "params": {"type": "object"},
    "result": {"type": "object", "required": ["pid"], "properties": {"pid": {"type": "integer"}}},
    "example": {"journal": "journal"},
    "providers": [
        {
            "name": "pen",
            "kind": "python",
            "function": "tests.support.live_capabilities:sign",
            "config": {"word": "signed"},
        }
    ],
}


async def facts_of(settings: Settings, run_id: str) -> list[Fact]:
    return await asyncio.to_thread(read_run, settings, connect_codec(settings), run_id, until_ended_s=10.0)


def calls_of(facts: list[Fact]) -> list[tuple[str, bool, str]]:
    return [(fact.kind, fact.local, fact.agent) for fact in facts if isinstance(fact, CallEvent)]


def signed(journal: Path, times: int) -> None:
    assert journal.exists()
    assert len(journal.read_text().splitlines()) == times


async def test_a_call_is_made_in_the_agents_process_and_is_on_the_log_like_any_other(
    settings: Settings, tmp_path: Path
) -> None:
    """Intent, attempt and outcome, in this order; without the option the executor makes it."""
    given: dict[str, Any] = {"capability": NAME, "params": {"journal": str(tmp_path / "journal")}}
    async with AsyncBackplane.connect(settings) as backplane:
        here = Process(settings, "local_caller", local=[NAME])
        with processes(here):
            run = await backplane.start_run("local", given)
            ended = await run.wait(30)
            assert here.end() == 0
        elsewhere = Process(settings, "local_caller")
        with processes(elsewhere):
            other = await (await backplane.start_run("local", given)).wait(30)
            assert elsewhere.end() == 0

    assert ended.result == {"pid": here.process.pid}
    assert other.result["pid"] not in (here.process.pid, elsewhere.process.pid)
    facts = await facts_of(settings, run.id)
    assert calls_of(facts) == [("CallRequested", True, "local_caller"), ("CallCompleted", True, "local_caller")]
    (attempt,) = [fact for fact in facts if isinstance(fact, AttemptEvent)]
    intent, outcome = (fact for fact in facts if isinstance(fact, CallEvent))
    assert intent.run_seq < attempt.run_seq < outcome.run_seq
    assert (attempt.kind, attempt.provider, attempt.causation_id) == ("AttemptSucceeded", "pen", intent.event_id)


async def test_a_process_that_is_killed_in_the_middle_leaves_the_call_to_the_next(
    settings: Settings, tmp_path: Path
) -> None:
    """The handler begins again, and so does its call, which has one outcome."""
    journal, gate = tmp_path / "journal", tmp_path / "gate"
    params = {"journal": str(journal), "gate": str(gate)}
    async with AsyncBackplane.connect(settings) as backplane:
        first = Process(settings, "local_caller", instance="kept", local=[NAME])
        with processes(first):
            run = await backplane.start_run("local", {"capability": NAME, "params": params})
            await asyncio.to_thread(assert_eventually, lambda: signed(journal, 1))
            first.end(signal.SIGKILL)
        second = Process(settings, "local_caller", instance="kept", local=[NAME])
        with processes(second):
            await asyncio.to_thread(assert_eventually, lambda: signed(journal, 2))
            gate.touch()
            ended = await run.wait(30)

    assert ended.result == {"pid": second.process.pid}
    assert journal.read_text().split() == [str(first.process.pid), str(second.process.pid)]
    facts = await facts_of(settings, run.id)
    assert [kind for kind, *_ in calls_of(facts)] == ["CallRequested", "CallCompleted"]
    assert len([fact for fact in facts if isinstance(fact, AttemptEvent)]) == 1


async def test_a_call_that_nobody_comes_back_for_is_settled_by_an_executor(settings: Settings, tmp_path: Path) -> None:
    """When its time is over; the run is not left waiting."""
    journal, gate = tmp_path / "journal", tmp_path / "gate"
    params = {"journal": str(journal), "gate": str(gate)}
    async with AsyncBackplane.connect(settings) as backplane:
        first = Process(settings, "local_caller", local=[NAME])
        with processes(first):
            run = await backplane.start_run("local", {"capability": NAME, "params": params}, complete_when="explicit")
            await asyncio.to_thread(assert_eventually, lambda: signed(journal, 1))
            first.end(signal.SIGKILL)
        gate.touch()
        await asyncio.to_thread(assert_eventually, lambda: signed(journal, 2), 60.0)
        second = Process(settings, "local_caller", local=[NAME])
        with processes(second):
            ended = await run.wait(30)

    facts = await facts_of(settings, run.id)
    assert calls_of(facts) == [("CallRequested", True, "local_caller"), ("CallCompleted", False, "bp.executor")]
    assert str(ended.result["pid"]) == journal.read_text().split()[1]
    assert ended.result["pid"] not in (first.process.pid, second.process.pid)
