"""What must hold of the log, whatever was killed. Pure: values in, complaints out; an empty list is a law that holds.

Two kinds of judges: ``oracle`` decides every command of the log again and wants exactly those facts and no other
answers; the others know nothing of the core and count in what is there.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from agents_sdk.core import ids
from agents_sdk.core.commands import ABOUT_NO_RUN, Command
from agents_sdk.core.facts import (
    AgentEvent,
    CallEvent,
    ContractEvent,
    Fact,
    MessageEvent,
    RefusalEvent,
    Reply,
    RunEvent,
    StateEvent,
)
from agents_sdk.core.ids import CallId, RunId
from agents_sdk.core.ledger import Limits, PartitionState, Proof, apply, undecodable
from agents_sdk.core.replay import Declared, LoggedCommand, recorded_proofs, replay
from agents_sdk.topics import CALLS, INBOX_PREFIX, TOPIC_OF_FACT, dead_letter, inbox
from agents_sdk.wire.codec import Undecodable
from tests.support.chaos.journal import Execution
from tests.support.chaos.log import Log

OUTCOMES: Final = ("CallCompleted", "CallFailed")
ENDS: Final = {"RunCompleted": "completed", "RunFailed": "failed", "RunCancelled": "cancelled"}
ENDS_OF_DELIVERIES: Final = ("HandlerCompleted", "MessageDeadLettered", "DeliveryCancelled")
WRITES: Final = ("StateWritten", "StateDeleted")


@dataclass(frozen=True)
class ClientReport:
    """What a client asked, and what it was told; times are wall clock, in seconds."""

    command: Command
    reply: Reply
    asked_at: float
    told_at: float


def without_proof(reply: Reply) -> Reply:
    """The answer but for which sending of the command it answers, and its proof: that is the shell's."""
    return msgspec.structs.replace(reply, issued_at=0, signature=b"")


def oracle(log: Log, limits: Limits, barrier: Mapping[int, int]) -> list[str]:
    """Committed are exactly the facts that deciding all commands again gives, in that order; ``barrier`` is, by
    partition, the command up to which they must be there. Every answer that was ever sent is one that deciding gives:
    early answers were never wrong."""
    wrong: list[str] = []
    known: dict[str, list[Reply]] = defaultdict(list)
    for partition in log.commands:
        expected: list[Fact] = []
        _decide_again(log, partition, limits, expected, known)
        upto = barrier[partition]
        mine = [fact for one, fact in log.facts if one.partition == partition]
        committed = sorted((fact for fact in mine if fact.command_offset <= upto), key=_order)
        expected = [fact for fact in expected if fact.command_offset <= upto]
        wrong += _compare(partition, committed, expected)
    for reply in (without_proof(each) for each in log.replies):
        if reply not in known[reply.command_id]:
            wrong.append(f"nobody may be told {reply}, but {known[reply.command_id][:2]}")
    return wrong


def _decide_again(
    log: Log, partition: int, limits: Limits, expected: list[Fact], known: dict[str, list[Reply]]
) -> None:
    book = PartitionState(limits=limits)
    proved = recorded_proofs(fact for one, fact in log.facts if one.partition == partition)
    for one, command in log.commands[partition]:
        at = one.at_ms * 1000
        if isinstance(command, Undecodable):
            expected.append(undecodable(one.partition, one.key, one.offset, at, command.code, str(command)))
            continue
        step = apply(book, command, one.offset, at, proved.get(one.offset, Proof.GOOD))
        expected += step.facts
        for addressed in step.replies:
            known[addressed.reply.command_id].append(without_proof(addressed.reply))


def _order(fact: Fact) -> tuple[int, int]:
    return fact.command_offset, fact.run_seq


def _compare(partition: int, committed: list[Fact], expected: list[Fact]) -> list[str]:
    if committed == expected:
        return []
    there, wanted = Counter(map(_name, committed)), Counter(map(_name, expected))
    wrong = [f"partition {partition}: lost {name}" for name in (wanted - there)]
    wrong += [f"partition {partition}: too many {name}" for name in (there - wanted)]
    pairs = zip(committed, expected, strict=False)
    first = next(((was, want) for was, want in pairs if was != want), None)
    return [*wrong, f"partition {partition}: {len(committed)} facts, {len(expected)} expected; first other: {first}"]


def _name(fact: Fact) -> str:
    return f"{fact.kind} {fact.run_id}/{fact.run_seq} of command {fact.command_id}@{fact.command_offset}"


def facts_once(log: Log) -> list[str]:
    """No event id twice over all topics and partitions; run_seq is 1..n in each run; versions are 1..n of each key;
    facts lie in their topic, in their command's partition, in the order of the commands."""
    wrong = [f"fact {event_id} is there {count} times" for event_id, count in _twice(f.event_id for _, f in log.facts)]
    numbers: dict[str, list[int]] = defaultdict(list)
    versions: dict[tuple[str, str], list[int]] = defaultdict(list)
    last: dict[tuple[str, int], tuple[int, int]] = {}
    for one, fact in log.facts:
        if TOPIC_OF_FACT[type(fact)] != one.topic:
            wrong.append(f"{_name(fact)} lies in {one.topic}")
        place = (one.topic, one.partition)
        if _order(fact) < last.get(place, (-1, -1)):
            wrong.append(f"{_name(fact)} comes after a later one in {place}")
        last[place] = _order(fact)
        if fact.run_seq:
            numbers[fact.run_id].append(fact.run_seq)
        if isinstance(fact, StateEvent) and fact.kind in WRITES:
            versions[fact.run_id, fact.key].append(fact.version)
    wrong += [f"run {run}: {_gaps(seqs)}" for run, seqs in numbers.items() if _gaps(sorted(seqs))]
    # versions in the order in which they lie in bp.state: a key is written in rising order
    return wrong + [f"key {place}: {_gaps(found)}" for place, found in versions.items() if _gaps(found)]


def _twice(names: Iterable[str]) -> list[tuple[str, int]]:
    return [(name, count) for name, count in Counter(names).items() if count > 1]


def _gaps(found: list[int]) -> str:
    return "" if found == list(range(1, len(found) + 1)) else f"1..{len(found)} expected, not {found[:20]}"


def told_the_truth(told: list[ClientReport], log: Log) -> list[str]:
    """Whatever a client was told is what was committed, by event id, version, run_seq, value; and what was
    acknowledged changed something once."""
    by_event = {fact.event_id: fact for _, fact in log.facts}
    by_command: dict[str, list[Fact]] = defaultdict(list)
    for _, fact in log.facts:
        by_command[fact.command_id].append(fact)
    wrong = []
    for each in told:
        mistake = _mistake(each, by_event, by_command[each.command.command_id])
        if mistake:
            wrong.append(f"{each.command.kind} {each.command.command_id}: {mistake}; told {each.reply}")
    return wrong


def _mistake(told: ClientReport, by_event: Mapping[str, Fact], caused: list[Fact]) -> str:
    command, reply = told.command, told.reply
    if command.kind in ABOUT_NO_RUN:
        return ""
    fact = by_event.get(reply.event_id)
    if fact is None:
        return "no such fact was committed"
    if fact.run_id != command.run_id or fact.run_seq != reply.run_seq:
        return f"the fact is {_name(fact)}"
    if reply.status == "refused":
        same = isinstance(fact, RefusalEvent) and fact.code == reply.code and len(caused) == 1
        return "" if same else f"the facts are {caused}"
    if isinstance(fact, CallEvent):
        value = fact.result if fact.kind == "CallCompleted" else ""
        asked = [one for one in caused if one.kind == "CallRequested"]
        same = (
            fact.call_id == CallId(command.command_id)
            and fact.kind in OUTCOMES
            and value == reply.value
            and len(asked) == 1
        )
        return "" if same else f"the outcome is {fact}"
    if command.kind == "AwaitRun":
        same = isinstance(fact, RunEvent) and ENDS.get(fact.kind) == reply.status and fact.state_hash in reply.detail
        return "" if same else f"the end is {fact}"
    if sum(one.event_id == fact.event_id for one in caused) != 1:
        return f"the facts of the command are {caused}"
    if isinstance(fact, StateEvent):
        return _state_mistake(fact, command, reply)
    return ""


def _state_mistake(fact: StateEvent, command: Command, reply: Reply) -> str:
    if fact.version != reply.version:
        return f"the version is {fact.version}"
    if fact.kind == "StateWritten":
        assert command.state is not None
        return "" if fact.value == command.state.value else f"the value is {fact.value}"
    if fact.kind == "StateRead" and reply.value and ids.sha256(reply.value) != fact.value_hash:
        return f"the value read has the hash {fact.value_hash}"
    return ""


def counters(told: list[ClientReport], log: Log, key: str) -> list[str]:
    """A compare-and-set counter ends at the number of acknowledged increments."""
    acknowledged: Counter[RunId] = Counter()
    for each in told:
        state = each.command.state
        if each.command.kind == "SetState" and state is not None and state.key == key and state.guarded:
            acknowledged[each.reply.run_id] += each.reply.status == "ok"
    final = {
        fact.run_id: msgspec.json.decode(fact.value)
        for _, fact in log.facts
        if isinstance(fact, StateEvent) and fact.kind == "StateWritten" and fact.key == key
    }
    return [
        f"run {run}: counted to {final.get(run)}, {count} acknowledged"
        for run, count in acknowledged.items()
        if final.get(run, 0) != count
    ]


def inbox_copies(log: Log) -> list[str]:
    """Each delivery lies once in its recipient's inbox, byte for byte the fact, in the same partition; nothing else."""
    there = Counter((one.topic, one.partition, one.key, one.value) for one in log.inboxes)
    wanted = Counter(
        (inbox(fact.recipient), one.partition, one.key, one.value)
        for one, fact in log.facts
        if isinstance(fact, MessageEvent) and fact.kind == "MessageDelivered"
    )
    wrong = [f"{count} too many in {name[0]}: {name[3]!r}" for name, count in (there - wanted).items()]
    return wrong + [f"{count} missing in {name[0]}: {name[3]!r}" for name, count in (wanted - there).items()]


def deliveries_settled(log: Log) -> list[str]:
    """In a run that ended idle each delivery was handled to its end exactly once."""
    idle = {fact.run_id for _, fact in log.facts if isinstance(fact, RunEvent) and fact.reason == "idle"}
    delivered: dict[str, str] = {}
    ended: Counter[str] = Counter()
    for _, fact in log.facts:
        if isinstance(fact, MessageEvent) and fact.run_id in idle:
            if fact.kind == "MessageDelivered":
                delivered[fact.delivery_id] = fact.run_id
            ended[fact.delivery_id] += fact.kind in ("HandlerCompleted", "MessageDeadLettered")
    return [
        f"run {run}: delivery {name} ended {ended[name]} times" for name, run in delivered.items() if ended[name] != 1
    ]


def messages_end(log: Log) -> list[str]:
    """Of a run that has ended each delivery has one of three ends, once: handled, cancelled with its run, a dead
    letter. In the others each has at most one."""
    over = {fact.run_id for _, fact in log.facts if fact.kind in ENDS}
    delivered: dict[str, str] = {}
    ended: dict[str, list[str]] = defaultdict(list)
    for _, fact in log.facts:
        if isinstance(fact, MessageEvent) and fact.kind == "MessageDelivered":
            delivered[fact.delivery_id] = fact.run_id
        elif isinstance(fact, MessageEvent) and fact.kind in ENDS_OF_DELIVERIES:
            ended[fact.delivery_id].append(fact.kind)
    return [
        f"run {run}: delivery {name} ended {ended[name]}"
        for name, run in delivered.items()
        if len(ended[name]) != 1 and (run in over or ended[name])
    ]


def calls_settled(log: Log, ended: set[str]) -> list[str]:
    """Each call has one intent and, in the runs that ``ended``, one outcome after it."""
    seen: dict[str, list[tuple[int, str]]] = defaultdict(list)
    runs: dict[str, str] = {}
    for _, fact in log.facts:
        if isinstance(fact, CallEvent) and fact.kind != "CallAwaited":
            seen[fact.call_id].append((fact.run_seq, fact.kind))
            runs[fact.call_id] = fact.run_id
    wrong = []
    for call, facts in seen.items():
        kinds = [kind for _, kind in sorted(facts)]
        settled = len(kinds) == 2 and kinds[0] == "CallRequested" and kinds[1] in OUTCOMES
        if not settled and (runs[call] in ended or kinds != ["CallRequested"]):
            wrong.append(f"call {call} of run {runs[call]}: {kinds}")
    return wrong


def intent_before_effect(log: Log, done: list[Execution]) -> list[str]:
    """Nothing was executed before its intent was written, or without one."""
    asked = {
        fact.call_id: one.at_ms
        for one, fact in log.facts
        if isinstance(fact, CallEvent) and fact.kind == "CallRequested"
    }
    return [
        f"call {each.call_id} was executed at {each.began_ns // 1_000_000}, its intent is of {asked.get(call_id)}"
        for each in done
        if each.began_ns // 1_000_000 < asked.get(call_id := CallId(each.call_id), 1 << 62)
    ]


def not_after_outcome(seen_ns: Mapping[str, int], done: list[Execution]) -> list[str]:
    """No execution began after its call's outcome was committed; ``seen_ns`` is when an observer that reads committed
    records had it in hand, so a later beginning is later for certain."""
    return [
        f"call {each.call_id} attempt {each.attempt} by {each.pid} began"
        f" {(each.began_ns - seen_ns[each.call_id]) / 1e6:.1f} ms after its outcome was seen"
        for each in done
        if each.began_ns > seen_ns.get(each.call_id, 1 << 62)
    ]


def claimed(log: Log) -> set[str]:
    """The calls that only one process may make, and has to claim."""
    return {fact.call_id for _, fact in log.facts if isinstance(fact, CallEvent) and fact.capability == "transfer"}


def claimed_and_done(log: Log, done: list[Execution]) -> list[Execution]:
    """The executions of unsafe calls that were completed: whoever made one had claimed it, so that nobody else can have
    completed it before. A call that only asks, or may be repeated, is claimed by nobody."""
    unsafe = claimed(log)
    completed = {fact.call_id for _, fact in log.facts if isinstance(fact, CallEvent) and fact.kind == "CallCompleted"}
    return [each for each in done if each.call_id in unsafe & completed]


def unsafe_once(log: Log, done: list[Execution]) -> list[str]:
    """An unsafe attempt happens at most once, and only when it was claimed; a call that ended as unknown had a claim
    that nobody reported on."""
    unsafe = claimed(log)
    claims = {(fact.call_id, fact.attempt) for _, fact in log.facts if fact.kind == "AttemptStarted"}  # type: ignore[attr-defined]
    made = Counter((each.call_id, each.attempt) for each in done if each.call_id in unsafe)
    wrong = [f"attempt {which} happened {count} times" for which, count in made.items() if count > 1]
    return wrong + [f"attempt {which} happened unclaimed" for which in made if which not in claims]


def runs_replay(log: Log, limits: Limits) -> list[str]:
    """Each run that ended replays identical, to the state hash that its end says."""
    commands: dict[str, list[LoggedCommand]] = defaultdict(list)
    for records in log.commands.values():
        for one, command in records:
            if isinstance(command, Command) and command.run_id:
                commands[command.run_id].append(LoggedCommand(one.offset, one.at_ms * 1000, command))
    recorded: dict[str, list[Fact]] = defaultdict(list)
    declared: dict[int, list[Declared]] = defaultdict(list)
    place: dict[str, int] = {}
    for one, fact in log.facts:
        recorded[fact.run_id].append(fact)
        place[fact.run_id] = one.partition
        if isinstance(fact, AgentEvent | ContractEvent):
            declared[one.partition].append(fact)
    wrong = []
    for run, facts in recorded.items():
        ends = [fact for fact in facts if fact.kind in ENDS]
        if not run or not ends:
            continue
        verdict = replay(RunId(run), commands[run], declared[place[run]], facts, limits)
        hashes = {verdict.recorded_state_hash, verdict.replayed_state_hash, *(_hash(end) for end in ends)}
        if not verdict.identical or len(hashes) != 1 or len(ends) != 1:
            wrong.append(f"run {run}: {verdict}")
    return wrong


def _hash(fact: Any) -> str:
    return str(fact.state_hash)


def no_orphan_topic(log: Log) -> list[str]:
    """Nothing died but what has to: each call of unknown outcome has its letter, once, the fact byte for byte."""
    calls = dead_letter(CALLS)
    there = Counter((one.partition, one.value) for one in log.dead if one.topic == calls)
    wanted = Counter(
        (one.partition, one.value)
        for one, fact in log.facts
        if isinstance(fact, CallEvent) and fact.kind == "CallFailed" and fact.error_code == "outcome_unknown"
    )
    wrong = [f"{count} letters too many in {calls}: {name[1]!r}" for name, count in (there - wanted).items()]
    wrong += [f"{count} letters missing in {calls}: {name[1]!r}" for name, count in (wanted - there).items()]
    others = [one for one in log.dead if one.topic not in (calls, f"dlq.{INBOX_PREFIX}")]
    return wrong + [f"dead letter in {one.topic}: {one.headers}" for one in others]
