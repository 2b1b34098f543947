"""A dishonest writer to Kafka, without a key or with one agent's, on the real platform: nobody acts on its word."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
import pytest

from agents_sdk import Agent, AsyncBackplane, Context, Event, Settings
from agents_sdk.broadcast import broadcast
from agents_sdk.core.commands import BreakerBody, Command, RegistrationBody
from agents_sdk.core.facts import BreakerEvent, CallEvent, MessageEvent, Reply
from agents_sdk.core.identity import OPERATOR
from agents_sdk.core.ids import derive
from agents_sdk.core.kinds import CommandKind
from agents_sdk.core.ledger.breakers import breaker_id
from agents_sdk.core.partition import partition_of
from agents_sdk.history import read_run, read_topic
from agents_sdk.scope import Scope, new_id
from agents_sdk.topics import (
    AGENTS,
    ATTEMPTS,
    BREAKERS,
    CALLS,
    COMMANDS,
    REPLIES,
    STATE,
    dead_letter,
    inbox,
)
from agents_sdk.wire.codec import Undecodable
from agents_sdk.wire.proof import FOR_EXECUTORS, PROOF, Place, Prover, subkey
from agents_sdk.wire.signature import sign
from backplane.cli.app import run as cli
from backplane.platform.platform import LocalPlatform
from tests.support.dishonest import Dishonest, EncodedRecord, one_agents_key
from tests.support.eventually import assert_eventually, assert_soon
from tests.support.live_agents import own, running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def command_of(attacker: Dishonest, lying: EncodedRecord) -> Command | None:
    """The command of a record; None for what is none: others write nonsense to the same topic."""
    try:
        said = attacker.codec.decode(lying.value)
    except Undecodable:
        return None
    return said if isinstance(said, Command) else None


def spoken(attacker: Dishonest, call_ids: set[str]) -> list[str]:
    """What executors have said about these calls."""
    commands = [command_of(attacker, each) for each in attacker.read(COMMANDS)]
    bodies = [(each.kind, each.attempt or each.outcome) for each in commands if each is not None]
    return [kind for kind, body in bodies if body is not None and body.call_id in call_ids]


async def test_executor_carries_out_no_call_that_the_ledger_did_not_ask_for(
    backplane: AsyncBackplane, attacker: Dishonest, settings: Settings, platform: LocalPlatform
) -> None:
    """Made up, with another's proof, moved to another partition, changed, or copied when it was settled long ago; also
    where the copy is the first that an executor reads after it was killed."""
    run = await backplane.start_run("calls", complete_when="explicit")
    await run.execute("echo", {"n": 1})
    genuine = next(each for each in await asyncio.to_thread(attacker.read, CALLS) if each.key == run.id.encode())
    asked = attacker.codec.decode(genuine.value)
    assert isinstance(asked, CallEvent)
    assert asked.kind == "CallRequested"
    # a call that is there already when an executor takes its partition over is claimed first
    told = await asyncio.to_thread(spoken, attacker, {asked.call_id})
    assert told in (["CompleteCall"], ["StartAttempt", "CompleteCall"])

    key = one_agents_key(settings)
    place = Place(asked.command_offset + 1000)
    names = [f"forged-{number}" for number in range(5)]
    made = [msgspec.structs.replace(asked, call_id=name, event_id=name) for name in names]
    here = partition_of(run.id, settings.topics.partitions)
    by_stolen_key = attacker.make(CALLS, here, run.id, made[1])
    proof = Prover(subkey(key, "dispatch")).prove(CALLS, here, by_stolen_key.key, by_stolen_key.value, place)
    forgeries = [
        attacker.make(CALLS, here, run.id, made[0]),
        by_stolen_key._replace(headers=[(FOR_EXECUTORS, proof), (PROOF, proof)]),
        attacker.changed(genuine, call_id=names[2], params='{"n":2}'),
        genuine._replace(partition=(here + 1) % settings.topics.partitions),
        genuine._replace(key=b"another run"),
        genuine,
    ]
    await asyncio.to_thread(attacker.write, *forgeries)
    await _settled(backplane, run)
    platform.kill("executor")
    await asyncio.to_thread(attacker.write, genuine, attacker.make(CALLS, here, run.id, made[3]))
    await _settled(backplane, run)

    assert await asyncio.to_thread(spoken, attacker, {asked.call_id, *names}) == told
    await run.complete()


async def _settled(backplane: AsyncBackplane, run: Any) -> None:
    """Genuine calls behind the forgeries, in every partition: what stands before them was read before."""
    others = [await backplane.start_run("calls", complete_when="explicit") for _ in range(12)]
    for each in (run, *others):
        await each.execute("echo", {"behind": True})
    for each in others:
        await each.complete()


async def test_no_call_is_taken_for_settled_or_cancelled_on_a_strangers_word(
    backplane: AsyncBackplane, attacker: Dishonest, settings: Settings, platform: LocalPlatform
) -> None:
    """Outcomes are forged while the executor is away: it makes the call all the same."""
    run = await backplane.start_run("calls", complete_when="explicit")
    platform.kill("executor")
    waiting = asyncio.create_task(run.execute("echo", {"n": 7}))

    async def asked() -> EncodedRecord:
        found = [each for each in await asyncio.to_thread(attacker.read, CALLS) if each.key == run.id.encode()]
        assert found
        return found[0]

    genuine = await assert_soon(asked)
    lies = [attacker.changed(genuine, kind=kind) for kind in ("CallCompleted", "CallFailed", "CallCancelled")]
    await asyncio.to_thread(attacker.write, *lies)
    assert (await asyncio.wait_for(waiting, 60)).result == {"params": {"n": 7}}
    await run.complete()


async def test_client_believes_only_what_the_ledger_proves_to_it(
    backplane: AsyncBackplane, attacker: Dishonest, settings: Settings
) -> None:
    """A run that goes on is said to have ended, by answers made up, or proven by another's key; and the command that
    waits is said to be refused, by a copy of it elsewhere as well."""
    run = await backplane.start_run("asked", complete_when="explicit")
    waiting = asyncio.create_task(run.wait(timeout=60))
    client = backplane.transport

    async def asked() -> Command:
        said = [command_of(attacker, each) for each in await asyncio.to_thread(attacker.read, COMMANDS)]
        found = [each for each in said if each is not None and each.kind == "AwaitRun"]
        mine = [each for each in found if each.run_id == run.id]
        assert mine
        return mine[0]

    command = await assert_soon(asked)
    said: list[tuple[str, str, str]] = [("completed", "", '"lie"'), ("cancelled", "", "")]
    said += [("refused", code, "") for code in ("forged", "misplaced", "stale", "run_finished")]
    to: dict[str, Any] = {"command_id": command.command_id, "reply_to": client.client_id, "run_id": run.id}
    lies = [Reply(status=status, code=code, value=value, **to) for status, code, value in said]
    key = one_agents_key(settings)
    values = [attacker.codec.encode(each) for each in lies]
    forged = [
        EncodedRecord(REPLIES, client.reply_partition, -1, client.client_id.encode(), value, [])
        for each in values
        for value in (each, sign(each, key), sign(each, subkey(key, "answer")))
    ]
    await asyncio.to_thread(attacker.write, *forged)
    raw = [each for each in await asyncio.to_thread(attacker.read, COMMANDS) if each.key == run.id.encode()]
    elsewhere = [each._replace(partition=(each.partition + 1) % settings.topics.partitions) for each in raw]
    await asyncio.to_thread(attacker.write, *elsewhere)
    await run.state.set("k", "v")  # answered behind the lies
    await asyncio.sleep(0)
    assert not waiting.done(), waiting
    await run.complete("truth")
    assert (await waiting).result == "truth"


async def test_agent_handles_no_delivery_that_the_ledger_did_not_make(
    backplane: AsyncBackplane, attacker: Dishonest, settings: Settings
) -> None:
    """Made up, proven by another agent's key, taken from another inbox, changed, or copied when it was handled: the
    handler does not run, and what is no copy is a dead letter with its cause."""
    handled: list[tuple[str, Any]] = []
    agent, other = Agent(own("victim"), workflows=[own("w")]), Agent(own("other"), workflows=[own("w")])

    async def handle(ctx: Context, event: Event) -> None:
        handled.append((ctx.run_id, event.data))

    agent.on("run.started")(handle)
    other.on("run.started")(handle)
    topic = inbox(agent.name)
    async with running(settings, agent, other):
        run = await backplane.start_run(agent.workflows[0], input={"n": 1})
        await run.wait(timeout=30)
        foreign = await backplane.start_run(other.workflows[0], input={"n": 2})
        await foreign.wait(timeout=30)
        (genuine,) = await asyncio.to_thread(attacker.read, topic)
        (others_,) = await asyncio.to_thread(attacker.read, inbox(other.name))
        delivery = attacker.codec.decode(genuine.value)
        assert isinstance(delivery, MessageEvent)
        new = msgspec.structs.replace(delivery, delivery_id=new_id(), event_id=new_id(), data='{"forged":1}')
        made = attacker.make(topic, genuine.partition, run.id, new)
        key = subkey(one_agents_key(settings), "delivery")
        proof = Prover(key, 1).prove(topic, made.partition, made.key, made.value, Place(10**9))
        forgeries = [
            made,
            made._replace(headers=[(PROOF, proof)]),
            attacker.changed(genuine, data='{"forged":2}'),
            others_._replace(topic=topic),
            genuine._replace(partition=(genuine.partition + 1) % settings.topics.partitions),
            genuine._replace(key=b"elsewhere"),
            genuine,
        ]
        await asyncio.to_thread(attacker.write, *forgeries)
        await _worked(backplane, agent)
        seen = [data for _, data in handled if "behind" not in data]
        assert seen == [{"n": 1}, {"n": 2}]
        expected = [b"copied"] + [b"forged"] * (len(forgeries) - 1)
        await asyncio.to_thread(assert_eventually, lambda: _equal(_causes(attacker, topic), expected))
    # and where the copy is the first that a process reads, the ledger is asked before anything is done
    await asyncio.to_thread(attacker.write, genuine, made)
    async with running(settings, agent):
        await _worked(backplane, agent)
    assert [data for _, data in handled if "behind" not in data] == [{"n": 1}, {"n": 2}]


async def _worked(backplane: AsyncBackplane, agent: Agent) -> None:
    """Genuine deliveries behind the forgeries, in every partition."""
    runs = [await backplane.start_run(agent.workflows[0], input={"behind": n}) for n in range(12)]
    for each in runs:
        assert (await each.wait(timeout=60)).status == "completed"


async def test_copied_removal_of_an_agent_does_nothing_to_the_one_that_came_back(
    backplane: AsyncBackplane, attacker: Dishonest, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every record of it, in its own partition and in each other one."""
    agent = Agent(own("back"), workflows=[own("w")])

    @agent.on("run.started")
    async def handle(ctx: Context, event: Event) -> None:
        pass

    async with running(settings, agent):
        pass
    where = ["--data-dir", str(settings.data_dir)]
    assert await asyncio.to_thread(cli, ["agents", "remove", agent.name, *where]) == 0
    async with running(settings, agent):
        removals = await asyncio.to_thread(_registrations, attacker, "RemoveAgent", agent.name)
        count = settings.topics.partitions
        assert len(removals) == count
        await asyncio.to_thread(
            attacker.write, *(each._replace(partition=number) for each in removals for number in range(count))
        )
        for _ in range(8):
            run = await backplane.start_run(agent.workflows[0])
            assert (await run.wait(timeout=30)).status == "completed"
    facts = await asyncio.to_thread(read_topic, settings, attacker.codec, AGENTS)
    kinds = [fact.kind for each in facts.values() for fact in each if getattr(fact, "name", "") == agent.name]
    assert kinds.count("AgentRemoved") == count


async def test_copied_opening_of_a_breaker_does_not_open_it_again(
    backplane: AsyncBackplane, attacker: Dishonest, settings: Settings
) -> None:
    """It was opened, probed and closed: the first command comes once more."""
    breaker = breaker_id(own("capability"), "one", "timeout")
    _, capability, provider, error_class = breaker.split("/")
    transport = backplane.transport

    async def say(kind: CommandKind, **fields: Any) -> None:
        scope = Scope(transport, breaker, "bp.executor", correlation_id=new_id())
        body = BreakerBody(capability=capability, provider=provider, error_class=error_class, executor="e", **fields)
        await scope.ask(kind, body)

    def state() -> list[str]:
        facts = read_topic(settings, attacker.codec, BREAKERS)
        own_ = [fact for each in facts.values() for fact in each if isinstance(fact, BreakerEvent)]
        return [fact.kind for fact in own_ if fact.run_id == breaker]

    await say("OpenBreaker", open_ms=1)
    await say("OpenBreaker", open_ms=1)  # it is open already: there is no fact of this one
    await asyncio.sleep(0.05)  # as long as it is open
    await say("ProbeBreaker", probe_ms=60_000)
    await say("CloseBreaker")
    closed = ["BreakerOpened", "BreakerProbed", "BreakerClosed"]
    await asyncio.to_thread(assert_eventually, lambda: _equal(state(), closed))
    raw = [each for each in await asyncio.to_thread(attacker.read, COMMANDS) if each.key == breaker.encode()]
    await asyncio.to_thread(attacker.write, *raw)
    await say("CloseBreaker")  # answered behind the copies
    assert await asyncio.to_thread(state) == closed


def _registrations(attacker: Dishonest, kind: str, name: str) -> list[EncodedRecord]:
    """The records of the commands of a kind that are about an agent."""

    def wanted(each: EncodedRecord) -> bool:
        said = command_of(attacker, each)
        return said is not None and said.kind == kind and getattr(said.registration, "name", "") == name

    return [each for each in attacker.read(COMMANDS) if wanted(each)]


def _causes(attacker: Dishonest, topic: str) -> list[bytes]:
    """Why records of a topic are dead letters."""
    letters = [dict(each.headers) for each in attacker.read(dead_letter(topic))]
    mine = [each for each in letters if each["__dlq.errors.topic"] == topic.encode()]
    return sorted(each["__dlq.errors.exception.class.name"] for each in mine)


def _equal(found: list[Any], expected: list[Any]) -> None:
    assert found == expected


async def test_forged_and_copied_facts_are_neither_shown_nor_counted(
    backplane: AsyncBackplane, attacker: Dishonest, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """A copied attempt would be paid for twice, a made-up one once: rows, costs and history have only what was."""
    run = await backplane.start_run("billed", complete_when="explicit")
    await run.execute("echo", {"n": 1})
    await run.state.set("k", 1)
    before = await asyncio.to_thread(read_run, settings, attacker.codec, run.id)
    mine = [
        each
        for topic in (ATTEMPTS, STATE, CALLS)
        for each in await asyncio.to_thread(attacker.read, topic)
        if each.key == run.id.encode()
    ]
    lies = [attacker.changed(each, event_id=derive("lie", str(n)), run_seq=90 + n) for n, each in enumerate(mine)]
    await asyncio.to_thread(attacker.write, *mine, *lies)
    await run.complete()
    after = await asyncio.to_thread(read_run, settings, attacker.codec, run.id, until_ended_s=10)
    assert [fact.event_id for fact in after[: len(before)]] == [fact.event_id for fact in before]
    assert [fact.kind for fact in after[len(before) :]] == ["RunCompleted"]

    async def stored() -> None:
        query = f"select count() from events where run_id = '{run.id}'"
        assert await asyncio.to_thread(cli, ["sql", query, "--json", "--data-dir", str(settings.data_dir)]) == 0
        rows = json.loads(capsys.readouterr().out)
        assert str(rows).count(str(len(after))) == 1, rows

    await assert_soon(stored, 30)
    letters = [
        each
        for topic in (ATTEMPTS, STATE, CALLS)
        for each in await asyncio.to_thread(attacker.read, dead_letter(topic))
        if each.key == run.id.encode()
    ]
    causes = sorted(dict(each.headers)["__dlq.errors.exception.class.name"] for each in letters)
    assert causes == [b"copied"] * len(mine) + [b"forged"] * len(lies)


async def test_broadcast_is_not_moved_to_another_partition(
    backplane: AsyncBackplane, attacker: Dishonest, settings: Settings
) -> None:
    """A registration of one partition is no registration in another: an older declaration cannot come back by it."""
    name = own("moved")
    await broadcast(backplane.transport, name, "RegisterAgent", RegistrationBody(name=name, reads=["secret"]))
    await broadcast(backplane.transport, name, "RegisterAgent", RegistrationBody(name=name, reads=[]))
    count = settings.topics.partitions
    olds = await asyncio.to_thread(_registrations, attacker, "RegisterAgent", name)
    await asyncio.to_thread(
        attacker.write, *(each._replace(partition=number) for each in olds for number in range(count))
    )
    await broadcast(backplane.transport, OPERATOR, "RemoveAgent", RegistrationBody(name=own("nobody")))
    facts = await asyncio.to_thread(read_topic, settings, attacker.codec, AGENTS)
    for each in facts.values():
        registered = [fact for fact in each if fact.kind == "AgentRegistered" and getattr(fact, "name", "") == name]
        assert [fact.reads for fact in registered] == [["secret"], []]  # type: ignore[attr-defined]  # AgentEvents
