"""One trial: work goes on, things are killed, then all that Kafka has is held against the laws."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import msgspec

from agents_sdk import Agent, AsyncBackplane, Context, Event
from agents_sdk.core.facts import Fact, MessageEvent, StateEvent
from agents_sdk.core.ledger import Limits
from agents_sdk.core.partition import partition_of
from agents_sdk.runner import register
from agents_sdk.scope import new_id
from agents_sdk.wire.registry import connect_codec
from agents_sdk.wire.topics_admin import ensure_inbox
from backplane.platform.platform import LocalPlatform
from tests.support.chaos import laws
from tests.support.chaos.agents import SIDES, digest, left, right, tally
from tests.support.chaos.journal import executions
from tests.support.chaos.log import Log, barrier, decode, read
from tests.support.chaos.observer import Observer
from tests.support.chaos.platform import LEDGERS, AgentsProcess
from tests.support.chaos.schedule import AGENTS, Hit, Killer
from tests.support.chaos.workload import COUNTER, Result, Workload
from tests.support.eventually import assert_soon
from tests.support.message_ends import unended

SHOWN: Final = 12
"""Complaints that are printed of each law."""
COMMITTED_LIMIT_S: Final = 60.0
WATCH_EVERY_S: Final = 0.3
Deeds = Callable[[Killer], Awaitable[None]]


@dataclass(frozen=True)
class Outcome:
    """What a trial leaves behind to be judged."""

    log: Log
    barrier: dict[int, int]
    result: Result
    hits: list[Hit]
    seen_ns: dict[str, int]
    executed: list[Any]
    limits: Limits


class Beside(Protocol):
    """Work that goes on beside the usual one."""

    def stop(self) -> None:
        """``run`` is to end."""

    async def run(self, backplane: AsyncBackplane) -> None:
        """Works until it is stopped."""


async def trial(
    platform: LocalPlatform,
    seed: int,
    deeds: Deeds,
    *,
    agents: dict[str, AgentsProcess] | None = None,
    beside: Sequence[Beside] = (),
) -> Outcome:
    """Runs the work while ``deeds`` are done, lets it end, and reads everything."""
    settings = platform.settings
    codec = await asyncio.to_thread(connect_codec, settings)
    if agents is None:
        agents = {
            AGENTS[0]: AgentsProcess(settings.data_dir, AGENTS[0], instance="first"),
            AGENTS[1]: AgentsProcess(settings.data_dir, AGENTS[1]),
        }
    killer = Killer(platform, agents)
    with contextlib.ExitStack() as stack:
        for process in agents.values():
            stack.callback(process.kill)
            process.start()
        observer = stack.enter_context(Observer(settings, codec))
        async with AsyncBackplane.connect(settings, name="witness") as backplane:
            await _agents_known(backplane)
            work = Workload(backplane, seed)
            others = (one.run(backplane) for one in beside)
            working: asyncio.Future[Any] = asyncio.ensure_future(asyncio.gather(work.run(), *others))
            doing: asyncio.Future[Any] = asyncio.ensure_future(deeds(killer))
            watching = asyncio.create_task(_watch(agents))
            await asyncio.wait([working, doing], return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                await doing
            work.stop()
            for one in beside:
                one.stop()
            await working
            watching.cancel()
            upto = await _settled(backplane, settings, codec)
    log = decode(await asyncio.to_thread(read, settings), codec, settings.topics.partitions)
    limits = Limits(max_value_bytes=settings.limits.max_value_bytes)
    done = executions(settings.data_dir)
    return Outcome(log, upto, work.result, killer.hits, observer.seen_ns, done, limits)


async def _watch(agents: dict[str, AgentsProcess]) -> None:
    while True:
        for process in agents.values():
            process.watch()
        await asyncio.sleep(WATCH_EVERY_S)


async def _agents_known(backplane: AsyncBackplane) -> None:
    """The agents' processes register them too, behind their inboxes; but not before the first run asks for them."""
    for agent in (left, right, tally, digest):
        await asyncio.to_thread(ensure_inbox, backplane.transport.settings, agent.name)
        await register(backplane.transport, agent)


async def _settled(backplane: AsyncBackplane, settings: Any, codec: Any) -> dict[int, int]:
    """Waits until the facts of all that was sent so far are committed, by sending something behind it."""
    name = f"barrier_{new_id()[-12:]}"
    agent = Agent(name)

    @agent.on("never.sent")
    async def nothing(ctx: Context, event: Event) -> None:
        return

    await register(backplane.transport, agent)

    async def committed() -> dict[int, int]:
        found = await asyncio.to_thread(barrier, settings, codec, name)
        assert found is not None
        return found

    return await assert_soon(committed, COMMITTED_LIMIT_S)


def judge(outcome: Outcome, more: Mapping[str, list[str]] | None = None, *, zombies: bool = False) -> None:
    """Holds all laws against the log; ``more`` are the complaints of others. ``zombies``: executors stood still
    or were cut off while others took their calls over; what they then still do is only held against them where it had
    to be claimed. Raises AssertionError with the complaints of each law that is broken."""
    log, result = outcome.log, outcome.result
    held_to = laws.claimed_and_done(log, outcome.executed) if zombies else outcome.executed
    held = {
        "decided again": laws.oracle(log, outcome.limits, outcome.barrier),
        "facts once": laws.facts_once(log),
        "told the truth": laws.told_the_truth(result.told, log),
        "counters": laws.counters(result.told, log, COUNTER),
        "inbox copies": laws.inbox_copies(log),
        "deliveries settled": laws.deliveries_settled(log),
        "messages end": unended(fact for _, fact in log.facts),
        "calls settled": laws.calls_settled(log, result.ended),
        "intent before effect": laws.intent_before_effect(log, outcome.executed),
        "not after outcome": laws.not_after_outcome(outcome.seen_ns, held_to),
        "unsafe once": laws.unsafe_once(log, outcome.executed),
        "runs replay": laws.runs_replay(log, outcome.limits),
        "relays": relays(result, log),
        "nothing died": laws.no_orphan_topic(log),
        "messages handled, dead or cancelled": laws.messages_end(log),
        **(more or {}),
    }
    broken = {law: complaints for law, complaints in held.items() if complaints}
    lines = [f"{law}: {len(found)} times\n    " + "\n    ".join(found[:SHOWN]) for law, found in broken.items()]
    assert not broken, "\n".join(["laws are broken:", *lines])


def relays(result: Result, log: Log) -> list[str]:
    """What agents did in their runs is there once: each step's write at version 1, its message, its count; and who was
    triggered by a dependency found every write that was made before (G2)."""
    values: dict[tuple[str, str], list[Any]] = {}
    published: dict[str, int] = {}
    for _, fact in log.facts:
        if isinstance(fact, StateEvent) and fact.kind == "StateWritten":
            values.setdefault((fact.run_id, fact.key), []).append(msgspec.json.decode(fact.value))
        if isinstance(fact, MessageEvent) and fact.kind == "MessagePublished" and fact.name == "relay.step":
            published[fact.run_id] = published.get(fact.run_id, 0) + 1
    wrong = []
    for run in result.relays.keys() & result.ended:
        steps = result.relays[run]
        written = {f"{side}.{step}": step for side in SIDES for step in range(steps)}
        expected = {**{key: [value] for key, value in written.items()}, "digest": [written]}
        expected["tally"] = list(range(1, 2 * steps + 1))
        found = {key: values.get((run, key)) for key in expected}
        if found != expected or published.get(run) != 2 * steps:
            wrong.append(f"run {run}: {found}, {published.get(run)} messages for {2 * steps} steps")
    return wrong


def takeovers(outcome: Outcome, partitions: int) -> list[float]:
    """Seconds from each kill of a ledger until every partition had answered a command sent after it; of the kills with
    an answer from every partition."""
    found = []
    for hit in outcome.hits:
        if hit.victim not in LEDGERS:
            continue
        first: dict[int, float] = {}
        for told in outcome.result.told:
            if told.asked_at > hit.at and told.command.run_id:
                number = partition_of(told.command.run_id, partitions)
                first[number] = min(first.get(number, 1e12), told.told_at)
        if len(first) == partitions:
            found.append(max(first.values()) - hit.at)
    return found


def summary(outcome: Outcome, seed: int) -> str:
    """One line for whoever looks at the test's output."""
    told = outcome.result.told
    gaps = takeovers(outcome, len(outcome.log.commands)) or [0.0]
    facts: list[Fact] = [fact for _, fact in outcome.log.facts]
    per_call = len(outcome.executed) - len({(each.call_id, each.attempt) for each in outcome.executed})
    return (
        f"seed {seed}: {len(outcome.hits)} hits, {len(told)} answers, {len(facts)} facts, {len(outcome.log.replies)}"
        f" replies, {len(outcome.result.ended)} runs ended, {len(outcome.executed)} executions ({per_call} repeated),"
        f" {outcome.result.uncertain} outcomes unknown; every partition answered again after p50"
        f" {statistics.median(gaps):.1f} s, max {max(gaps):.1f} s"
    )
