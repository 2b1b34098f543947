"""State, memory and contracts on the real platform: nothing lost, unrecorded, or in breach of its contract."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any, Final

import pytest
from pydantic import BaseModel

from agents_sdk import (
    Agent,
    AgentsRunner,
    AsyncBackplane,
    Context,
    ContractViolated,
    Event,
    InvalidCommand,
    Oversize,
    RunFinished,
    Settings,
    StateContract,
    VersionConflict,
)
from agents_sdk.contracts import Contract
from agents_sdk.core import ids
from agents_sdk.core.commands import StateBody
from agents_sdk.core.facts import RefusalEvent, StateEvent
from agents_sdk.core.kinds import CommandKind
from agents_sdk.history import read_run
from agents_sdk.scope import Scope
from agents_sdk.wire.codec import Codec
from agents_sdk.wire.registry import Registry, SchemaRejected, connect_codec
from backplane.replay.recorded import replay_run
from backplane.topics import contracts
from tests.support.eventually import assert_eventually
from tests.support.live_agents import own

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
MODULE: Final = Path(__file__).parents[1] / "support" / "contract_module.py"


@pytest.fixture(scope="module")
def codec(settings: Settings) -> Codec:
    return connect_codec(settings)


def state_facts(settings: Settings, codec: Codec, run_id: str, kind: str, count: int) -> list[Any]:
    """The facts of state of a run or memory, once so many of a kind are there: an answer may be ahead of its fact."""
    found: list[Any] = []

    def check() -> None:
        found[:] = [fact for fact in read_run(settings, codec, run_id) if isinstance(fact, StateEvent)]
        assert sum(fact.kind == kind for fact in found) == count

    assert_eventually(check, 20)
    return found


async def applied(backplane: AsyncBackplane, settings: Settings, *declared: Contract) -> None:
    """Applies contracts as the command line does."""
    with Registry(settings) as registry:
        found = await asyncio.to_thread(contracts.registered, registry, declared)
    await contracts.apply(backplane.transport, "tester", found)


def cli(settings: Settings, prefix: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "backplane.cli.app", "contracts", *arguments, "--data-dir", str(settings.data_dir)],
        capture_output=True, text=True, check=False, timeout=60, env={**os.environ, "TEST_CONTRACTS": prefix},
    )  # fmt: skip


async def test_contracts_of_a_module_are_applied_shown_and_held_against(
    backplane: AsyncBackplane, settings: Settings, codec: Codec
) -> None:
    """Dry-run changes nothing; applied, the ledger refuses what breaks them, from whoever it comes; a replay agrees."""
    prefix = own("cli")
    run = await backplane.start_run("contracts", complete_when="explicit")
    dry = await asyncio.to_thread(cli, settings, prefix, "apply", str(MODULE), "--dry-run", "--json")
    assert (dry.returncode, {row["status"] for row in json.loads(dry.stdout)}) == (0, {"new"}), dry.stderr
    await run.state.set(f"{prefix}/findings", "anything")
    done = await asyncio.to_thread(cli, settings, prefix, "apply", str(MODULE), "--json")
    assert done.returncode == 0, done.stderr
    with pytest.raises(ContractViolated) as violated:
        await run.state.set(f"{prefix}/findings", {"sources": [1]})
    assert violated.value.fields["path"] == "sources[0]"
    with pytest.raises(ContractViolated):
        await run.publish(f"{prefix}.found", {"count": "many"})
    assert await run.state.set(f"{prefix}/log1", "one") == 1
    assert await run.state.get(f"{prefix}/log1") == ["one"]
    await run.complete()

    again = await asyncio.to_thread(cli, settings, prefix, "apply", str(MODULE), "--json")
    assert {row["status"] for row in json.loads(again.stdout)} == {"unchanged"}
    listed = await asyncio.to_thread(cli, settings, prefix, "list", "--json")
    mine = {row["pattern"]: row["reducer"] for row in json.loads(listed.stdout) if prefix in row["pattern"]}
    assert mine[f"{prefix}/log*"] == "append"
    assert len(mine) == 4
    shown = await asyncio.to_thread(cli, settings, prefix, "show", f"{prefix}.found", "--json")
    assert json.loads(shown.stdout)["schema"]["required"] == ["count"]
    facts = read_run(settings, codec, run.id, until_ended_s=10)
    assert [fact.code for fact in facts if isinstance(fact, RefusalEvent)] == ["contract", "contract"]
    assert replay_run(settings, codec, run.id).identical


class Before(BaseModel):
    sources: list[str]


class Wider(Before):
    note: str = ""


class Stricter(Before):
    author: str


async def test_an_incompatible_contract_is_refused_before_the_ledger_hears_of_it(
    backplane: AsyncBackplane, settings: Settings
) -> None:
    """The registry compares with all versions; the old contract goes on holding."""
    key = own("typed")
    await applied(backplane, settings, StateContract(key, dict[str, int]))
    with pytest.raises(SchemaRejected) as rejected:
        await applied(backplane, settings, StateContract(own("innocent"), int), StateContract(key, dict[str, str]))
    assert key in rejected.value.message
    run = await backplane.start_run("contracts", complete_when="explicit")
    assert await run.state.set(key, {"a": 1}) == 1
    grown = own("grown")
    await applied(backplane, settings, StateContract(grown, Before))
    await applied(backplane, settings, StateContract(grown, Wider))
    with pytest.raises(SchemaRejected):
        await applied(backplane, settings, StateContract(grown, Stricter))
    await run.complete()


async def test_memory_is_shared_by_runs_at_once_without_a_lost_update(
    backplane: AsyncBackplane, settings: Settings, codec: Codec
) -> None:
    """Handlers of eight runs update one key, add to a counter and append to a list; all of it is there in the end, each
    fact with the run that wrote it, and a replay of the memory agrees."""
    namespace, name = own("lessons"), own("learner")
    await applied(
        backplane,
        settings,
        StateContract(f"memory/{namespace}/count", int, reducer="counter"),
        StateContract(f"memory/{namespace}/log", list[str], reducer="append"),
    )
    agent = Agent(name, reads=[f"memory/{namespace}/*"], writes=[f"memory/{namespace}/*"], workflows=[namespace])

    @agent.on("run.started")
    async def learn(ctx: Context, event: Event) -> None:
        memory = ctx.memory(namespace)
        for _ in range(5):
            await memory.update("total", lambda total: (total or 0) + 1)
            await memory.set("count", 1)
            await memory.set("log", ctx.run_id)

    runner = AgentsRunner([agent], settings)
    await runner.start()
    try:
        runs = await asyncio.gather(*(backplane.start_run(namespace) for _ in range(8)))
        ended = await asyncio.gather(*(run.wait(60) for run in runs))
    finally:
        await runner.close()
    assert {one.status for one in ended} == {"completed"}, ended
    memory = backplane.memory(namespace)
    assert await memory.get_many(["total", "count"]) == {"total": 40, "count": 40}
    assert sorted(await memory.get("log")) == sorted([run.id for run in runs] * 5)
    facts = await asyncio.to_thread(state_facts, settings, codec, f"memory/{namespace}", "StateWritten", 120)
    assert {fact.correlation_id for fact in facts if fact.kind == "StateWritten"} == {run.id for run in runs}
    assert (await asyncio.to_thread(replay_run, settings, codec, f"memory/{namespace}")).identical


async def test_state_is_gone_with_its_run_and_its_history_stays(backplane: AsyncBackplane, settings: Settings) -> None:
    """The ledger lets go of it, what was written is read from the facts; a memory stays."""
    run = await backplane.start_run(own("ends"), complete_when="explicit")
    namespace = own("stays")
    await run.state.set("k", "in the run")
    first = (await run.state.history("k"))[0]
    await run.state.set("k", "last")
    await backplane.memory(namespace).set("k", "in memory")
    await run.complete()
    with pytest.raises(RunFinished):
        await run.state.set("k", 1)
    later = backplane.run(run.id).state
    assert await later.get_many(["k", "never"]) == {"k": "last"}
    assert await later.get("k", at=first.at) == "in the run"
    assert [version.version for version in await later.history("k")] == [1, 2]
    assert await backplane.memory(namespace).get("k") == "in memory"


async def test_every_access_is_a_fact_with_who_what_and_which(
    backplane: AsyncBackplane, settings: Settings, codec: Codec
) -> None:
    """Agent, key, version, size and hash of each read and write, several at once, lists and histories included; keys of
    every Unicode plane."""
    run = await backplane.start_run(own("complete"), complete_when="explicit")
    memory = own("complete")
    keys = ["plain", "ä", "漢字", "𐍈", "🙂", "\U000e0001", "\U0010fffd", "a/b c\t\x00"]
    for state, run_id in ((run.state, run.id), (backplane.memory(memory), f"memory/{memory}")):
        for key in keys:
            assert await state.set(key, {"of": key}) == 1
            assert await state.get(key) == {"of": key}
        assert list(await state.get_many(keys)) == keys
        assert {item.key for item in await state.list()} == set(keys)
        await state.history("ä")
        await state.delete("ä")
        facts = await asyncio.to_thread(state_facts, settings, codec, run_id, "StateDeleted", 1)
        assert Counter(fact.kind for fact in facts) == {
            "StateWritten": 8, "StateRead": 16, "StateListed": 1, "HistoryRead": 1, "StateDeleted": 1,
        }  # fmt: skip
        for fact in facts:
            assert (fact.agent, fact.correlation_id) == ("tester", run_id)
            if fact.kind in ("StateWritten", "StateRead"):
                value = ids.canonical({"of": fact.key})
                assert (fact.version, fact.size, fact.value_hash) == (1, len(value.encode()), ids.sha256(value))
    await run.complete()


async def test_bad_input_is_refused_and_other_runs_go_on(backplane: AsyncBackplane) -> None:
    """Unknown key, wrong version, oversize, not JSON, an empty or too long key, a version that never was."""
    victim = await backplane.start_run(own("bad"), complete_when="explicit")
    other = await backplane.start_run(own("good"), complete_when="explicit")
    by_hand = Scope(backplane.transport, victim.id, "tester", correlation_id="c")
    assert await victim.state.get("never") is None
    bad: list[tuple[CommandKind, StateBody, type[Exception]]] = [
        ("SetState", StateBody(key="k", value="{"), InvalidCommand),
        ("SetState", StateBody(key="k", value=""), InvalidCommand),
        ("SetState", StateBody(key="", value="1"), InvalidCommand),
        ("SetState", StateBody(key="k" * 513, value="1"), InvalidCommand),
        ("SetState", StateBody(key="k", value="1", guarded=True, expected_version=3), VersionConflict),
        ("SetState", StateBody(key="k", value='"' + "x" * 1_048_576 + '"'), Oversize),
        ("GetState", StateBody(key="k", version=7), InvalidCommand),
        ("GetStates", StateBody(key="", keys=[]), InvalidCommand),
    ]
    for kind, body, error in bad:
        with pytest.raises(error):
            await by_hand.ask(kind, body)
        assert await other.state.set("beat", kind) > 0
    assert await victim.state.list() == []
    for run in (victim, other):
        await run.complete()


async def test_a_value_lives_no_longer_than_it_may(backplane: AsyncBackplane, settings: Settings, codec: Codec) -> None:
    """By the write or by the contract; a rewrite gives it more, a delete needs none; not one is early."""
    namespace = own("passing")
    await applied(backplane, settings, StateContract(f"memory/{namespace}/brief", str, ttl_seconds=0.3))
    memory = backplane.memory(namespace)
    await memory.set("brief", "by contract")
    await memory.set("own", 1, ttl_seconds=0.3)
    await memory.set("kept", 1, ttl_seconds=0.3)
    await memory.set("kept", 2)
    await memory.set("gone", 1, ttl_seconds=0.3)
    await memory.delete("gone")
    facts = await asyncio.to_thread(state_facts, settings, codec, f"memory/{namespace}", "StateExpired", 2)
    due = {(fact.key, fact.version + 1): fact.expires_at for fact in facts if fact.expires_at}
    expired = [fact for fact in facts if fact.kind == "StateExpired"]
    assert {fact.key for fact in expired} == {"brief", "own"}
    for fact in expired:
        assert due[fact.key, fact.version] <= fact.at < due[fact.key, fact.version] + 5_000_000
    assert await memory.get_many(["brief", "own", "kept", "gone"]) == {"kept": 2}
    assert (await asyncio.to_thread(replay_run, settings, codec, f"memory/{namespace}")).identical
