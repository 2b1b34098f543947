"""The SDK on the real platform: what an author writes does what it says, or says why not."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agents_sdk import (
    Agent,
    AgentsRunner,
    AsyncBackplane,
    Backplane,
    CallFailed,
    Context,
    ContractBroken,
    Event,
    InvalidCommand,
    NotConfigured,
    Oversize,
    Refused,
    RunExists,
    RunFinished,
    ScopeDenied,
    Settings,
    Unanswered,
    UnknownAgent,
    UnknownRun,
    VersionConflict,
)
from agents_sdk.core.commands import StateBody
from agents_sdk.core.facts import MessageEvent
from agents_sdk.history import read_agents, read_commands, read_run
from agents_sdk.scope import new_id
from agents_sdk.topics import MESSAGES
from agents_sdk.wire.registry import connect_codec
from tests.support.live_agents import Process, own, processes, running
from tests.support.sdk_agents import Findings

pytestmark = pytest.mark.timeout(300)


def test_story_of_the_issue_by_the_synchronous_face(settings: Settings) -> None:
    """Start, depend, wait, read: with agents in another process, and the state read after the end."""
    agents = Process(settings, "story_research", "story_analysis")
    with processes(agents), Backplane.connect(settings) as backplane:
        run = backplane.start_run("story", {"topic": "event streaming"}, state={"brief": {"tone": "dry"}})
        met = run.declare_dependency(
            downstream="story_analysis", depends_on=["story_research"], trigger_when="all_completed"
        )
        ended = run.wait(60)

        assert (run.recipients, backplane.run(run.id).recipients) == (1, None)
        assert met is False
        assert (ended.status, ended.reason) == ("completed", "idle"), ended
        assert run.state.get("article") == {"text": "event streaming and dry", "after": ["story_research"]}
        assert run.state.get("research_findings", Findings) == Findings(sources=["event streaming", "dry"])
        assert [(kept.key, kept.version) for kept in run.state.list()] == [
            ("article", 1),
            ("brief", 1),
            ("research_findings", 1),
        ]
        assert [kept.agent for kept in run.state.history("article")] == ["story_analysis"]
        assert backplane.run(run.id).wait(5) == ended
        with pytest.raises(RunFinished) as refused:
            run.state.set("article", 1)
        assert refused.value.fields["status"] == "completed"
        assert agents.end() == 0


async def test_state_versions_guards_and_history(backplane: AsyncBackplane) -> None:
    """Each write is a version; a guard that does not hold says where the key is."""
    run = await backplane.start_run(own("wf"), complete_when="explicit")

    assert await run.state.get("k") is None
    assert (await run.state.entry("k")).version == 0
    assert await run.state.set("k", {"a": [1]}, expected_version=0) == 1
    assert await run.state.set("k", "two") == 2
    assert await run.state.delete("k", expected_version=2) == 3
    assert await run.state.set("k", None) == 4
    assert (await run.state.entry("k")).version == 4
    assert await run.state.get("k", version=1) == {"a": [1]}
    assert await run.state.list("nothing") == []
    with pytest.raises(VersionConflict) as conflict:
        await run.state.set("k", 1, expected_version=2)
    assert conflict.value.current_version == 4
    with pytest.raises(ContractBroken, match="never written"):
        await run.state.get("other", Findings)
    history = await run.state.history("k")
    assert [(kept.version, kept.agent, kept.deleted) for kept in history] == [
        (1, "tester", False),
        (2, "tester", False),
        (3, "tester", True),
        (4, "tester", False),
    ]
    await run.complete({"done": True})
    assert [kept.version for kept in await run.state.history("k")] == [1, 2, 3, 4]
    assert await run.state.history("k") == history
    assert await run.state.get("k", version=1) == {"a": [1]}
    with pytest.raises(InvalidCommand, match="no version 9"):
        await run.state.get("k", version=9)


async def test_every_refusal_is_its_own_error(backplane: AsyncBackplane) -> None:
    """Nobody parses text."""
    name = own("wf")
    run = await backplane.start_run(name, complete_when="explicit")
    with pytest.raises(RunExists):
        await backplane.start_run(name, run_id=run.id)
    with pytest.raises(UnknownRun):
        await backplane.run(new_id()).state.get("k")
    with pytest.raises(UnknownRun):
        await backplane.run(new_id()).wait(5)
    with pytest.raises(UnknownAgent, match="nobody"):
        await run.send("nobody", "a.b")
    with pytest.raises(UnknownAgent):
        await run.declare_dependency("nobody", ["nobody_else"])
    with pytest.raises(InvalidCommand) as bad_name:
        await run.publish("Not A Name")
    assert bad_name.value.fields["field"] == "name"
    with pytest.raises(InvalidCommand):
        await backplane.start_run(name, complete_when="never")
    with pytest.raises(Unanswered):
        await run.wait(0.5)
    await run.cancel("enough")
    with pytest.raises(RunFinished):
        await run.complete()
    ended = await run.wait(5)
    assert (ended.status, ended.code, ended.said, ended.result) == ("cancelled", "asked", "enough", None)
    assert ended.reason == f"{ended.said_by!r} cancelled the run"


async def test_oversize_is_refused_by_the_client_and_by_the_ledger(backplane: AsyncBackplane) -> None:
    """The same error, whoever says it."""
    run = await backplane.start_run(own("wf"), complete_when="explicit")
    limit = backplane.transport.max_value_bytes
    with pytest.raises(Oversize) as early:
        await run.state.set("k", "x" * limit)
    backplane.transport.max_value_bytes = 2 * limit

    with pytest.raises(Oversize) as late:
        await run.state.set("k", "x" * limit)

    assert early.value.fields == late.value.fields == {"size": limit + 2, "limit": limit}
    assert await run.state.set("k", "x" * (limit - 2)) == 1
    await run.fail("over")


async def test_same_command_twice_gives_the_first_answer(backplane: AsyncBackplane) -> None:
    """And is applied once."""
    run = await backplane.start_run(own("wf"), complete_when="explicit")
    scope = backplane.scope(run.id)
    command = scope.command("SetState", StateBody(key="k", value="1"))

    first = await scope.sent(command)
    await run.state.set("k", 2)
    second = await scope.sent(command)

    assert (first.version, second.version) == (1, 1)
    assert first.event_id == second.event_id
    assert (await run.state.entry("k")).version == 2


async def test_lost_answer_is_asked_for_again(backplane: AsyncBackplane, monkeypatch: pytest.MonkeyPatch) -> None:
    """The author notices nothing but the time it takes."""
    run = await backplane.start_run(own("wf"), complete_when="explicit")
    arrived = backplane.transport._arrived
    lost: list[bytes] = []

    def lossy(values: list[bytes]) -> None:
        if lost:
            arrived(values)
        else:
            lost.extend(values)

    assert backplane.transport._replies is not None
    monkeypatch.setattr(backplane.transport._replies._thread, "_arrived", lossy)

    assert await run.state.set("k", 1) == 1
    assert len(lost) == 1
    assert (await run.state.entry("k")).version == 1


async def test_scopes_of_an_agent_are_enforced_and_the_refusal_names_the_rule(settings: Settings) -> None:
    """In the ledger, whatever the SDK thinks."""
    agent = Agent(own("scoped"), reads=["in.*"], writes=["out"], capabilities=["echo"], publishes=["ok"])
    rules: dict[str, Any] = {}

    @agent.on("check")
    async def check(ctx: Context, event: Event) -> None:
        for operation in (
            ctx.state.get("other"),
            ctx.state.set("in.x", 1),
            ctx.execute("web_search", {}),
            ctx.publish("not.ok"),
        ):
            try:
                await operation
            except ScopeDenied as denied:
                rules[denied.fields["rule"]] = denied.fields["allowed"]
        await ctx.state.get("in.x")
        await ctx.state.set("out", 1)
        await ctx.publish("ok")

    async with running(settings, agent), AsyncBackplane.connect(settings) as backplane:
        run = await backplane.start_run(own("wf"))
        await run.send(agent.name, "check")
        assert (await run.wait(30)).status == "completed"

    assert rules == {"reads": ["in.*"], "writes": ["out"], "capabilities": ["echo"], "publishes": ["ok"]}


async def test_capability_call_returns_its_result_or_says_what_was_tried(backplane: AsyncBackplane) -> None:
    """By the executor, over the log."""
    run = await backplane.start_run(own("wf"), complete_when="explicit")

    found = await run.execute("echo", {"a": 1})
    with pytest.raises(CallFailed) as failed:
        await run.execute("no_such_capability")

    assert found.result == {"params": {"a": 1}}
    assert (found.provider, found.attempts, found.degraded) == ("echo", 1, False)
    assert failed.value.fields["capability"] == "no_such_capability"
    assert failed.value.fields["error_code"] == "unknown_capability"
    await run.complete()


async def test_history_of_a_run_is_gap_free_and_its_commands_are_all_there(settings: Settings) -> None:
    """What replay and lineage stand on."""
    agent = Agent(own("historian"))

    @agent.on("go")
    async def go(ctx: Context, event: Event) -> None:
        await ctx.gather(*(ctx.state.set(f"k{number}", number) for number in range(5)))
        await ctx.execute("echo", {})

    async with running(settings, agent), AsyncBackplane.connect(settings) as backplane:
        run = await backplane.start_run(own("wf"), {"n": 1})
        await run.send(agent.name, "go")
        await run.wait(30)
    codec = connect_codec(settings)

    facts = await asyncio.to_thread(read_run, settings, codec, run.id, until_ended_s=10.0)
    commands = await asyncio.to_thread(read_commands, settings, codec, run.id)
    agents = await asyncio.to_thread(read_agents, settings, codec, run.id)

    assert [fact.run_seq for fact in facts] == list(range(1, len(facts) + 1))
    assert facts[0].kind == "RunStarted"
    assert facts[-1].kind == "RunCompleted"
    assert {fact.command_id for fact in facts} <= {command.command_id for _, _, command, _ in commands}
    assert {fact.command_offset for fact in facts} <= {offset for offset, *_ in commands}
    at = {offset: appended for offset, appended, *_ in commands}
    assert all(fact.at == at[fact.command_offset] for fact in facts)
    assert agent.name in {registered.name for registered in agents}
    only = await asyncio.to_thread(read_run, settings, codec, run.id, (MESSAGES,))
    assert only == [fact for fact in facts if isinstance(fact, MessageEvent)]
    last = commands[1][0]
    upto = await asyncio.to_thread(read_commands, settings, codec, run.id, last_offset=last)
    assert upto == commands[:2]
    assert await asyncio.to_thread(read_run, settings, codec, new_id()) == []


def test_blocking_face_says_what_is_wrong_with_its_use(settings: Settings, tmp_path: Path) -> None:
    """Closed, not configured, or called from its own loop: told at once instead of hanging."""
    backplane = Backplane.connect(settings)
    run = backplane.start_run(own("wf"), complete_when="explicit")
    run.complete()
    backplane.close()
    backplane.close()

    with pytest.raises(RuntimeError, match="closed"):
        run.wait(1)
    with pytest.raises(NotConfigured):
        Backplane.connect()


def test_refused_registration_is_raised(settings: Settings) -> None:
    """Agents that nobody can reach do not pretend to run."""
    agent = Agent(own("fine"))
    with pytest.raises(ValueError, match="no handlers"):
        AgentsRunner([agent], settings)

    @agent.on("x")
    async def handle(ctx: Context, event: Event) -> None: ...

    with pytest.raises(ValueError, match="two agents"):
        AgentsRunner([agent, agent], settings)
    assert issubclass(ScopeDenied, Refused)


async def test_a_client_has_the_verbs_of_an_agent(settings: Settings) -> None:
    """It decides, keeps files, finds what can be called and carries out a model's call, all in the run's record."""
    async with AsyncBackplane.connect(settings) as backplane:
        run = await backplane.start_run(own("wf"), complete_when="explicit")
        await run.decide("begin", "somebody asked")
        kept = await run.artifacts.put(b"a page", "text/plain")
        found = await run.discover("repeat the params that are given")
        offered = await run.tools("anthropic", names=["echo"])
        said = await run.call_tool({"type": "tool_use", "id": "t1", "name": "echo", "input": {"a": 1}})

        assert await run.artifacts.get(kept) == b"a page"
        assert [each["name"] for each in offered] == ["echo"]
        assert "echo" in {each.name for each in found}
        assert '"a":1' in str(said).replace(" ", "")
        with pytest.raises(InvalidCommand):
            await run.discard("no_such_delivery", "never was")
        await run.complete()
    codec = connect_codec(settings)
    facts = await asyncio.to_thread(read_run, settings, codec, run.id, until_ended_s=10.0)
    assert {"DecisionRecorded", "StateWritten", "CallCompleted"} <= {fact.kind for fact in facts}


def test_the_waiting_face_has_the_verbs_of_an_agent_too(settings: Settings) -> None:
    """The same from a script, without an event loop; and the form of before goes on, with a warning."""
    with Backplane.connect(settings) as backplane:
        run = backplane.start_run(own("wf"), complete_when="explicit")
        kept = run.artifacts.put(b"a page")

        assert run.artifacts.list() == [kept.uri]
        assert run.publish("nobody.listens") == 0
        assert [each["function"]["name"] for each in run.tools(names=["echo"])] == ["echo"]
        with pytest.warns(DeprecationWarning, match=r"run\.execute"):
            assert backplane.execute("echo", {"a": 1}, run=run).result == {"params": {"a": 1}}
        with pytest.warns(DeprecationWarning, match=r"run\.<verb>"):
            assert backplane.comms.publish("nobody.listens", run=run.id) == 0
        run.cancel()


async def test_an_agent_has_the_verbs_of_a_client(settings: Settings) -> None:
    """A handler declares a dependency, which triggers it, and cancels its run."""
    agent, done = Agent(own("waits"), publishes=["all.there"]), []

    @agent.on("go")
    async def go(ctx: Context, event: Event) -> None:
        done.append(await ctx.declare_dependency(agent.name, ["state:ready"], name="all.there"))

    @agent.on("all.there")
    async def there(ctx: Context, event: Event) -> None:
        await ctx.cancel_run("seen enough")

    async with running(settings, agent), AsyncBackplane.connect(settings) as backplane:
        run = await backplane.start_run(own("wf"), complete_when="explicit")
        await run.send(agent.name, "go")
        while await run.publish("tick") or not done:
            await asyncio.sleep(0.05)
        await run.state.set("ready", True)
        ended = await run.wait(30)

    assert (done, ended.status, ended.said) == ([False], "cancelled", "seen enough")
