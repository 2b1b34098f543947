"""The SDK on the real platform: what an author writes does what it says, once, whatever is killed in between."""

from __future__ import annotations

import asyncio
import logging
import signal
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient

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
from agents_sdk.context import HandlerStopped
from agents_sdk.core.commands import HandlerBody, StateBody
from agents_sdk.core.facts import DecisionEvent, MessageEvent, StateEvent
from agents_sdk.core.partition import partition_of
from agents_sdk.errors import DeliverySettled
from agents_sdk.history import read_agents, read_commands, read_run
from agents_sdk.scope import Scope, new_id
from agents_sdk.topics import MESSAGES, dead_letter, inbox
from agents_sdk.wire.headers import read_dead_letter
from agents_sdk.wire.registry import connect_codec
from tests.support.eventually import assert_eventually
from tests.support.live_agents import Process, own, processes, running
from tests.support.sdk_agents import Findings

pytestmark = pytest.mark.timeout(300)


def test_story_of_the_issue_by_the_synchronous_face(settings: Settings) -> None:
    """Start, depend, wait, read: with agents in another process, and the state read after the end."""
    agents = Process(settings, "story_research", "story_analysis")
    with processes(agents), Backplane.connect(settings) as backplane:
        run = backplane.start_run("story", {"topic": "event streaming"}, state={"brief": {"tone": "dry"}})
        met = backplane.comms.declare_dependency(
            downstream="story_analysis", depends_on=["story_research"], trigger_when="all_completed", run=run
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
        await backplane.comms.send("nobody", "a.b", run=run)
    with pytest.raises(UnknownAgent):
        await backplane.comms.declare_dependency("nobody", ["nobody_else"], run=run)
    with pytest.raises(InvalidCommand) as bad_name:
        await backplane.comms.publish("Not A Name", run=run)
    assert bad_name.value.fields["field"] == "name"
    with pytest.raises(InvalidCommand):
        await backplane.start_run(name, complete_when="never")
    with pytest.raises(Unanswered):
        await run.wait(0.5)
    await run.cancel("enough")
    with pytest.raises(RunFinished):
        await run.complete()
    ended = await run.wait(5)
    assert (ended.status, ended.reason, ended.result) == ("cancelled", "enough", None)


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
    scope = backplane.scope(run)
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
    monkeypatch.setattr(backplane.transport._replies, "_arrived", lossy)

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
        await backplane.comms.send(agent.name, "check", run=run)
        assert (await run.wait(30)).status == "completed"

    assert rules == {"reads": ["in.*"], "writes": ["out"], "capabilities": ["echo"], "publishes": ["ok"]}


async def test_deliveries_of_a_run_are_handled_in_order_and_runs_side_by_side(settings: Settings) -> None:
    """One agent, many runs: order within, concurrency over."""
    agent = Agent(own("orderly"))
    handled: dict[str, list[int]] = {}
    busy: set[str] = set()
    most = 0

    @agent.on("number")
    async def number(ctx: Context, event: Event) -> None:
        nonlocal most
        assert ctx.run_id not in busy
        busy.add(ctx.run_id)
        most = max(most, len(busy))
        await asyncio.sleep(0.001)
        handled.setdefault(ctx.run_id, []).append(event.data)
        await ctx.state.set("last", event.data)
        busy.discard(ctx.run_id)

    async with running(settings, agent), AsyncBackplane.connect(settings) as backplane:
        runs = [await backplane.start_run(own("wf"), complete_when="explicit") for _ in range(12)]
        for value in range(20):
            await asyncio.gather(*(backplane.comms.send(agent.name, "number", value, run=run) for run in runs))
        await _until(lambda: all(len(handled.get(run.id, ())) == 20 for run in runs))
        await asyncio.gather(*(run.complete() for run in runs))

    assert all(values == list(range(20)) for values in handled.values())
    assert most > 1


async def test_failing_handler_is_retried_and_then_ends_the_run_with_its_error(settings: Settings) -> None:
    """max_deliveries attempts, the cause in the reason, nothing silent."""
    agent = Agent(own("failing"), max_deliveries=2)
    attempts = []

    @agent.on("go")
    async def go(ctx: Context, event: Event) -> None:
        attempts.append(event.attempt)
        await ctx.state.set("tried", event.attempt)
        raise LookupError("the shelf is empty")

    async with running(settings, agent), AsyncBackplane.connect(settings) as backplane:
        run = await backplane.start_run(own("wf"))
        await backplane.comms.send(agent.name, "go", run=run)
        ended = await run.wait(30)

        assert ended.status == "failed"
        assert "LookupError: the shelf is empty" in ended.reason
        assert attempts == [1, 2]
        assert (await run.state.entry("tried")).version == 1, "the second attempt got the first one's answer"


async def test_message_that_this_version_does_not_handle_is_reported(settings: Settings) -> None:
    """An agent that lost a handler in an upgrade does not swallow what is on its way."""
    name = own("upgraded")
    old, new = Agent(name, max_deliveries=1), Agent(name, max_deliveries=1)

    async def handle(ctx: Context, event: Event) -> None: ...

    old.on("old.name")(handle)
    new.on("new.name")(handle)
    async with AsyncBackplane.connect(settings) as backplane:
        async with running(settings, old):
            pass
        run = await backplane.start_run(own("wf"))
        await backplane.comms.send(name, "old.name", run=run)
        async with running(settings, new):
            ended = await run.wait(30)

    assert ended.status == "failed"
    assert "UnknownMessage" in ended.reason
    assert "it handles new.name" in ended.reason


async def test_capability_call_returns_its_result_or_says_what_was_tried(backplane: AsyncBackplane) -> None:
    """By the executor, over the log."""
    run = await backplane.start_run(own("wf"), complete_when="explicit")

    found = await backplane.execute("echo", {"a": 1}, run=run)
    with pytest.raises(CallFailed) as failed:
        await backplane.execute("no_such_capability", run=run)

    assert found.result == {"params": {"a": 1}}
    assert (found.provider, found.attempts, found.degraded) == ("echo", 1, False)
    assert failed.value.fields["capability"] == "no_such_capability"
    assert failed.value.fields["error_code"] == "unknown_capability"
    await run.complete()


async def test_settled_delivery_is_refused_and_stops_the_handler(settings: Settings) -> None:
    """A second handling, by a process that was thought dead, can do nothing more."""
    agent = Agent(own("twice"))
    contexts: list[Context] = []

    @agent.on("go")
    async def go(ctx: Context, event: Event) -> None:
        contexts.append(ctx)
        await ctx.state.set("k", 1)

    async with running(settings, agent) as runner, AsyncBackplane.connect(settings) as backplane:
        run = await backplane.start_run(own("wf"), complete_when="explicit")
        await backplane.comms.send(agent.name, "go", run=run)
        await _until(lambda: bool(contexts))
        await run.state.get("k")
        delivered = await asyncio.to_thread(_delivery, settings, run.id)
        assert runner._transport is not None
        late = Context(runner._transport, agent.name, delivered)
        await _settled(backplane, delivered)

        with pytest.raises(HandlerStopped):
            await late.state.set("k", 2)
        await run.complete()


async def _settled(backplane: AsyncBackplane, delivered: MessageEvent) -> None:
    """Returns when the ledger has the delivery as handled."""
    scope = Scope(
        backplane.transport,
        delivered.run_id,
        delivered.recipient,
        correlation_id=delivered.correlation_id,
        delivery_id=delivered.delivery_id,
    )
    while True:
        try:
            # of attempt 0, which there never is: it changes nothing
            await scope.ask("FailHandler", HandlerBody(attempt=0, error_type="Test"))
        except DeliverySettled:
            return
        except InvalidCommand:
            await asyncio.sleep(0.05)


def _delivery(settings: Settings, run_id: str) -> MessageEvent:
    def found() -> MessageEvent:
        facts = read_run(settings, connect_codec(settings), run_id, (MESSAGES,))
        delivered = [fact for fact in facts if fact.kind == "MessageDelivered"]
        assert delivered
        assert isinstance(delivered[0], MessageEvent)
        return delivered[0]

    return assert_eventually(found)


async def test_history_of_a_run_is_gap_free_and_its_commands_are_all_there(settings: Settings) -> None:
    """What replay and lineage stand on."""
    agent = Agent(own("historian"))

    @agent.on("go")
    async def go(ctx: Context, event: Event) -> None:
        await ctx.gather(*(ctx.state.set(f"k{number}", number) for number in range(5)))
        await ctx.execute("echo", {})

    async with running(settings, agent), AsyncBackplane.connect(settings) as backplane:
        run = await backplane.start_run(own("wf"), {"n": 1})
        await backplane.comms.send(agent.name, "go", run=run)
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


def _members(settings: Settings, group: str, count: int) -> None:
    admin = AdminClient(dict(settings.kafka))  # kept: the answer never comes to one that was collected
    found = admin.describe_consumer_groups([group], request_timeout=10.0)[group].result(15.0)
    assert found.state.name == "STABLE", found.state
    assert len([one for one in found.members if one.assignment.topic_partitions]) == count


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
            while await run.state.get("step.0") is None:
                await asyncio.sleep(0.02)
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
            while await run.state.get("step.0") is None:
                await asyncio.sleep(0.02)
            assert await asyncio.to_thread(_static_members, settings, "bp.agent.steady") == {"bp.agent.steady-one"}
            first.end(signal.SIGKILL)
        with processes(Process(settings, "steady", instance="one")):
            assert (await run.wait(30)).status == "completed"


def _static_members(settings: Settings, group: str) -> set[str]:
    admin = AdminClient(dict(settings.kafka))  # kept: the answer never comes to one that was collected
    found = admin.describe_consumer_groups([group], request_timeout=10.0)[group].result(15.0)
    return {member.group_instance_id for member in found.members}


async def test_undecodable_record_in_an_inbox_is_a_dead_letter_and_stops_nobody(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """Bytes and key as they were, the cause in the headers, the next delivery handled."""
    caplog.set_level(logging.CRITICAL, logger="backplane.agents")
    agent = Agent(own("poisoned"))
    handled = asyncio.Event()

    @agent.on("go")
    async def go(ctx: Context, event: Event) -> None:
        handled.set()

    async with running(settings, agent), AsyncBackplane.connect(settings) as backplane:
        producer = Producer(settings.kafka)
        for partition in range(settings.topics.partitions):
            producer.produce(inbox(agent.name), b"\xffnonsense", b"some-key", partition, headers=[("mine", b"1")])
        producer.flush()
        run = await backplane.start_run(own("wf"))
        await backplane.comms.send(agent.name, "go", run=run)
        await asyncio.wait_for(handled.wait(), 20)
        assert (await run.wait(20)).status == "completed"
        letters = await asyncio.to_thread(_letters, settings, inbox(agent.name), settings.topics.partitions)

    for message in letters:
        letter = read_dead_letter(message.headers())
        assert letter is not None
        assert (message.key(), message.value()) == (b"some-key", b"\xffnonsense")
        assert letter.stage == "decode"
        assert letter.group == f"bp.agent.{agent.name}"
        assert ("mine", b"1") in message.headers()


def _letters(settings: Settings, topic: str, count: int) -> list[Any]:
    """The dead letters that came from a topic, once there are ``count`` of them."""
    found: list[Any] = []
    consumer = Consumer({**settings.kafka, "group.id": own("letters"), "auto.offset.reset": "earliest"})
    consumer.subscribe([dead_letter(topic)])

    def all_there() -> None:
        for message in consumer.consume(100, 0.2):
            letter = read_dead_letter(message.headers()) if message.error() is None else None
            if letter is not None and letter.topic == topic:
                found.append(message)
        assert len(found) == count

    try:
        assert_eventually(all_there)
    finally:
        consumer.close()
    return found


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


async def _until(check: Any, limit_s: float = 30.0) -> None:
    deadline = asyncio.get_running_loop().time() + limit_s
    while not check():
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.02)
