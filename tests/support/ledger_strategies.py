"""Histories of the ledger's core: bytes → commands, plausible and not, → what ``apply`` made of them.

Each command is chosen with an eye on the book (which deliveries are open, which calls), since one made up blindly would
be refused nearly always. Four bytes are one command and zero is none, so that a failing history shrinks to few.
"""

# long because: one move for each command beside the author who chooses: apart, neither says what it is for

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from hypothesis import strategies as st

from agents_sdk import schemas
from agents_sdk.core import ids
from agents_sdk.core.commands import (
    BODIES,
    BODY_OF_KIND,
    AttemptBody,
    CallBody,
    Command,
    ContractBody,
    DecisionBody,
    DependencyBody,
    HandlerBody,
    MessageBody,
    OutcomeBody,
    RegistrationBody,
    RunBody,
    StateBody,
)
from agents_sdk.core.facts import Fact, Reply, RunEvent
from agents_sdk.core.ids import CallId, CommandId, DeliveryId, RunId
from agents_sdk.core.ledger import Limits, PartitionState, apply, issued, timers
from agents_sdk.core.ledger.step import AddressedReply
from agents_sdk.wire.codec import Codec

RUNS: Final = ("run-1", "run-2", "run-3", "nowhere")
MEMORIES: Final = ("memory/lessons", "memory/facts", "memory/not a name")
AGENTS: Final = ("alpha", "beta", "gamma", "delta")
SENDERS: Final = ("client", "client", *AGENTS, "ghost", "client")
KEYS: Final = ("plan", "notes", "alpha.draft", "beta.draft", "ä/ö 🙂")
NAMES: Final = ("task.ready", "draft.done", "review-1.asked", "Not A Name")
VALUES: Final = (
    "1",
    '{"a":[1,2,{"b":null}]}',
    '"ä🙂"',
    "null",
    "",
    "{",
    "[" * 2_000 + "]" * 2_000,
    '"' + "x" * 6_000 + '"',
)
ADDRESSES: Final = (("c1", 0), ("c2", 1), ("", 0), ("c1", 0))
TERMS: Final = ("event:draft.done", "state:plan", "event:task.ready", "state:notes")
WHEN: Final = (*(("all_completed", 0), ("any_completed", 0), ("n_completed", 1), ("n_completed", 2)) * 2,)
"""How many of its terms a dependency needs."""
LIMITS: Final = Limits(max_value_bytes=5_000)
SPECS: Final = {
    "alpha": {"subscriptions": ["run.started", "task.*"], "reads": ["*"], "writes": ["*"], "publishes": ["*"]},
    "beta": {"subscriptions": ["*"], "reads": ["beta.*", "plan"], "writes": ["beta.*"], "publishes": ["draft.*"]},
    "gamma": {
        "subscriptions": ["draft.done", "run.*"],
        "workflows": ["w"],
        "reads": [],
        "writes": ["p*"],
        "publishes": [],
    },
    "delta": {"subscriptions": [], "reads": ["*"], "writes": [], "publishes": ["*"], "capabilities": ["*"]},
}


def codec() -> Codec:
    """The real codec, with made-up schema ids."""

    def unknown(schema_id: int, /) -> dict[str, Any]:
        raise LookupError(schema_id)

    return Codec({name: number for number, name in enumerate(schemas.records(), 1)}, unknown)


@dataclass(frozen=True)
class Entry:
    """One command and what it caused."""

    command: Command
    offset: int
    at: int
    facts: list[Fact]
    replies: list[AddressedReply]
    lived: bool
    """Its run lived when it came."""
    lives: bool
    """Its run lives after it."""
    in_settled_delivery: bool
    """It came after its delivery was handled to its end."""

    def kinds(self) -> list[str]:
        """Of its facts, in their order."""
        return [fact.kind for fact in self.facts]

    def own_reply(self) -> Reply | None:
        """What its sender was told at once."""
        mine = [told.reply for told in self.replies if told.reply.command_id == self.command.command_id]
        return mine[0] if mine else None


class History:
    """Commands applied one after the other. No dataclass: hypothesis would print all of its fields."""

    def __init__(self, before: Callable[[PartitionState, Command, int, int], None] | None = None) -> None:
        """``before`` looks at the book before each command."""
        self.book = PartitionState(limits=LIMITS)
        self.entries: list[Entry] = []
        self.offset = -1
        self.before = before

    def send(self, command: Command, step: int = 1) -> Entry:
        """Applies the command at the next offset."""
        self.offset += step
        at = self.now()
        if self.before is not None:
            self.before(self.book, command, self.offset, at)
        run = self.book.runs.get(command.run_id)
        settled = run is not None and command.delivery_id in run.settled
        done = apply(self.book, command, self.offset, at)
        lives = command.run_id in self.book.runs
        entry = Entry(command, self.offset, at, done.facts, done.replies, run is not None, lives, settled)
        self.entries.append(entry)
        return entry

    def now(self) -> int:
        """When the last command came."""
        return 1_700_000_000_000_000 + self.offset // 3 * 1000

    @property
    def facts(self) -> list[Fact]:
        """All facts, in the order they were decided."""
        return [fact for entry in self.entries for fact in entry.facts]

    @property
    def replies(self) -> list[AddressedReply]:
        """All replies, in the order they were made."""
        return [told for entry in self.entries for told in entry.replies]

    def __repr__(self) -> str:
        return "\n".join(["History:", *map(self._line, self.entries)])

    @staticmethod
    def _line(entry: Entry) -> str:
        command, kinds = entry.command, [fact.kind for fact in entry.facts]
        said = [(told.reply.status, told.reply.code) for told in entry.replies]
        who = f"{command.run_id} by {command.agent[:20]} id {command.command_id[:20]}"
        return f"  {entry.offset} {command.kind[:20]} {who} → {kinds} {said}"


class Author:
    """Chooses the next command from three bytes and the history so far."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.requested: list[tuple[str, str, str]] = []
        """Run, call and event id of every call ever asked for: executors come late."""
        self.delivered: list[Any] = []
        """Every MessageDelivered ever: zombies come late too."""
        self.issued: dict[str, list[Command]] = {}
        """Run → what the ledger has to say to it on account of other runs, in order; it arrives some time."""
        self.started: list[tuple[str, str]] = []
        """Parent and child of every child ever started."""

    def note(self, entry: Entry) -> None:
        """Remembers what later commands can refer to."""
        for fact in entry.facts:
            if fact.kind == "CallRequested":
                self.requested.append((fact.run_id, fact.command_id, fact.event_id))
            elif fact.kind == "MessageDelivered":
                self.delivered.append(fact)
            elif isinstance(fact, RunEvent) and fact.kind == "ChildStarted":
                self.started.append((fact.run_id, fact.child_run_id))
            for command in issued(fact):
                self.issued.setdefault(command.run_id, []).append(command)

    def command(self, a: int, b: int, c: int, kind: str, **fields: Any) -> Command:
        """A command from outside a handler: fresh id, some run, sender and address."""
        reply_to, reply_partition = ADDRESSES[c // 7 % len(ADDRESSES)]
        common: dict[str, Any] = {
            "command_id": ids.derive("test", f"{len(self.history.entries)}"),
            "kind": kind,
            "run_id": self._run_id(a),
            "agent": SENDERS[a // 8 % len(SENDERS)],
            "correlation_id": "correlation",
            "reply_to": reply_to,
            "reply_partition": reply_partition,
        }
        return Command(**{**common, **fields})

    def handler_command(self, a: int, b: int, c: int) -> Command | None:
        """A command that a handler sends: its id counts within the delivery, so that it often comes again."""
        delivery = self._delivery(a)
        if delivery is None:
            return None
        inner = INSIDE[b % len(INSIDE)](self, a, b // len(INSIDE), c)
        assert inner is not None
        return msgspec.structs.replace(inner, **self._within(delivery, f"{c % 4}"))

    def settle(self, a: int, b: int, c: int) -> Command | None:
        """CompleteHandler, in one case of five FailHandler or StartHandler."""
        delivery: Any = self._delivery(a)
        if delivery is None:
            return None
        attempt = delivery.attempt if b % 8 else c % 4
        kind = ("CompleteHandler", "StartHandler", "CompleteHandler", "CompleteHandler", "FailHandler")[b % 5]
        result = VALUES[a % len(VALUES)]
        body = HandlerBody(attempt=attempt, error_type="ValueError", error_message="ä" * (c * 20), result=result)
        within = self._within(delivery, f"{kind}/{attempt}")
        if c % 16 == 15:  # somebody else's delivery
            within |= {"agent": AGENTS[c // 16 % 4], "command_id": ids.derive(within["command_id"], "stolen")}
        return self.command(a, b, c, kind, handler=body, **within)

    def executor(self, a: int, b: int, c: int) -> Command | None:
        """What executors report about calls, open or not, of runs that live or not."""
        if not self.requested:
            return None
        runs = self.history.book.runs
        orphans = [request for request in self.requested if request[0] not in runs]
        known = orphans if orphans and a >= 192 else self.requested
        run_id, call_id, event_id = known[a % len(known)]
        kind = ("CompleteCall", "RecordAttempt", "FailCall", "StartAttempt", "CompleteCall")[b % 5]
        process = f"process-{b // 5 % 2}"
        name = {"StartAttempt": f"start/{c % 2}/{process}", "RecordAttempt": f"attempt/{c % 2}"}.get(kind)
        name = name or ("outcome" if c % 3 else f"outcome/{process}")
        attempt = AttemptBody(
            call_id=CallId(call_id), attempt=c % 2, capability="search", cost_nano_usd=7, executor=process
        )
        report = ("", '{"attempts":[]}')[a % 2]
        outcome = OutcomeBody(
            call_id=CallId(call_id), result=VALUES[c % len(VALUES)], attempts=1, cost_nano_usd=7, report=report,
            error_code=("", "outcome_unknown")[b // 10 % 2],
        )  # fmt: skip
        if b % 31 == 30:
            attempt, outcome = (
                AttemptBody(call_id=CallId("no call"), capability=""),
                OutcomeBody(call_id=CallId("no call")),
            )
            name = f"{name}/no call"  # another command: nobody says two things under one id
        return self.command(
            a, b, c, kind,
            command_id=ids.derive(call_id, name), run_id=run_id, causation_id=event_id,
            agent=self._reporter(run_id, call_id, c),
            **({} if kind.endswith("Attempt") else {"outcome": outcome}),
            **({"attempt": attempt} if kind.endswith("Attempt") or b // 5 % 3 == 0 else {}),
        )  # fmt: skip

    def _reporter(self, run_id: str, call_id: str, c: int) -> str:
        """Mostly who may: of a local call its caller or, later, an executor."""
        if not c % 16:
            return "ghost"
        run = self.history.book.runs.get(RunId(run_id))
        call = run.calls.get(CallId(call_id)) if run is not None else None
        return call.agent if call is not None and call.local and c % 4 else "bp.executor"

    def hear(self, a: int, b: int, c: int) -> Command | None:
        """What the ledger says to a run on account of another one, now and then twice."""
        waiting = [run_id for run_id, commands in self.issued.items() if commands]
        if not waiting:
            return None
        commands = self.issued[waiting[a % len(waiting)]]
        return commands[0] if c % 8 == 7 else commands.pop(0)

    def again(self, a: int, b: int, c: int) -> Command | None:
        """An earlier command once more, in one case of two from another address."""
        entries = self.history.entries
        if not entries:
            return None
        earlier = entries[-1 - (a * 7 + b) % len(entries)].command
        if c % 2:
            return earlier
        reply_to, reply_partition = ADDRESSES[c // 2 % len(ADDRESSES)]
        return msgspec.structs.replace(earlier, reply_to=reply_to, reply_partition=reply_partition)

    def malformed(self, a: int, b: int, c: int) -> Command | None:
        """A command that no SDK sends."""
        sound = OUTSIDE[b % len(OUTSIDE)](self, a, b, c)
        if sound is None:
            return None
        changes: tuple[dict[str, Any], ...] = (
            {"kind": "Explode"},
            {"kind": "é" * 5000},
            {"command_id": ""},
            {"agent": "x" * 5000},
            {"run_id": "", "kind": "StartRun", "run": RunBody(complete_when="idle")},
            {"state": None, "run": None, "message": None, "call": None, "handler": None, "registration": None},
            {"kind": "SetState", "state": StateBody(key="k" * 600, value="1")},
            {"kind": "SetState", "state": StateBody(key="", value="1")},
            {"kind": "GetState", "state": StateBody(key="plan", version=-1)},
            {"kind": "StartRun", "run": RunBody(workflow="w" * 600, complete_when="idle")},
            {"kind": "RegisterAgent", "registration": RegistrationBody(name="bp.executor")},
            {"kind": "DeclareDependency", "dependency": DependencyBody(downstream="alpha", trigger_when="any")},
            {"kind": "CallCapability", "call": CallBody(capability="")},
            {
                "kind": "ApplyContract",
                "run_id": "",
                "contract": ContractBody(target="agents", pattern="*", schema="{}"),
            },
            {"kind": "ApplyContract", "run_id": "", "contract": ContractBody(target="state", pattern="", schema="{}")},
            {"kind": "ApplyContract", "run_id": "", "contract": ContractBody(target="state", pattern="*", schema="{")},
            {"delivery_id": "no delivery"},
        )
        return msgspec.structs.replace(sound, **changes[c % len(changes)])

    def _run_id(self, a: int) -> str:
        """Mostly a run that lives."""
        runs = list(self.history.book.runs)
        return runs[a % len(runs)] if runs and a < 236 else RUNS[a % len(RUNS)]

    def _delivery(self, a: int) -> Any:
        """A delivery made some time, mostly one that is open."""
        runs = self.history.book.runs
        open_ones = [d for d in self.delivered if d.run_id in runs and d.delivery_id in runs[d.run_id].deliveries]
        known = open_ones if open_ones and a < 216 else self.delivered
        return known[a % len(known)] if known else None

    @staticmethod
    def _within(delivery: Any, name: str) -> dict[str, Any]:
        return {
            "command_id": ids.derive(delivery.delivery_id, name),
            "run_id": delivery.run_id,
            "agent": delivery.recipient,
            "causation_id": delivery.event_id,
            "delivery_id": delivery.delivery_id,
        }


Move = Callable[[Author, int, int, int], Command | None]


def _start(author: Author, a: int, b: int, c: int) -> Command:
    mode = "" if b > 250 else ("idle", "idle", "explicit")[b % 3]
    late = (0, 0, 0, 3, 12, -1)[a % 6] if len(author.history.entries) > 12 else 0
    body = RunBody(
        workflow="w" if c % 4 else "other", input=VALUES[b % 3], complete_when=mode, deadline_ms=late, rules=c % 4
    )
    if a % 16 == 9:
        body = msgspec.structs.replace(body, resumed_from="before")
    run_id = RUNS[b % 3] if c % 8 == 7 else f"run-{len(author.history.entries)}"
    return author.command(a, b, c, "StartRun", run_id=run_id, run=body)


STATE_KINDS: Final = (
    "SetState", "SetState", "GetState", "DeleteState", "SetState", "ListState", "GetHistory", "SetState", "GetStates",
    "GetState", "GetStates",
)  # fmt: skip


def _state(author: Author, a: int, b: int, c: int) -> Command:
    kind = STATE_KINDS[b % len(STATE_KINDS)]
    key = KEYS[max(c % 8 - 3, 0)]  # mostly the first, so that its versions count up
    version = c // 8 % 4
    if kind == "ListState":
        key = ("", "alpha.", "p")[c % 3]
    value = VALUES[a % 3] if a < 200 else VALUES[a % len(VALUES)]
    guarded = b // len(STATE_KINDS) % 2 == 1
    body = StateBody(
        key=key, value=value, guarded=guarded, expected_version=version, version=version if guarded else 0,
        keys=[key, *KEYS[: c % 4 - 1]] if c % 16 != 15 else [], at=author.history.now() - 1_000 * c if b > 200 else 0,
        ttl_ms=(0, 0, 1, 4, -1)[c // 4 % 5] if a % 2 else 0,
    )  # fmt: skip
    where = {"run_id": MEMORIES[a % len(MEMORIES)]} if b >= 176 else {}
    return author.command(a, b, c, kind, state=body, **where)


def _message(author: Author, a: int, b: int, c: int) -> Command:
    name = NAMES[c % len(NAMES)]
    late = (0, 0, 3)[a % 3]
    if b % 2:
        return author.command(a, b, c, "Publish", message=MessageBody(name=name, data=VALUES[b % 3], deadline_ms=late))
    recipient = (*AGENTS, "alpah")[b // 2 % 5]
    body = MessageBody(name=name, recipient=recipient, data=VALUES[b % 3], deadline_ms=late)
    return author.command(a, b, c, "SendMessage", message=body)


def _ask(author: Author, a: int, b: int, c: int) -> Command:
    body = MessageBody(
        name=NAMES[c % len(NAMES)], recipient=AGENTS[b % 4], data=VALUES[b % 3], deadline_ms=(0, 0, 4)[a % 3]
    )
    return author.command(a, b, c, "Ask", message=body)


def _withdraw(author: Author, a: int, b: int, c: int) -> Command | None:
    """Of what is asked, mostly by who asked it; now and then of nothing."""
    runs = author.history.book.runs
    asked = [(run_id, request_id) for run_id, run in runs.items() for request_id in run.requests]
    if not asked:
        return None
    run_id, request_id = asked[a % len(asked)]
    request = runs[run_id].requests[request_id]
    delivery = runs[run_id].deliveries.get(request.asked_in)
    body = MessageBody(name=request.name, request_id=request_id if c % 8 else CommandId("none"))
    own = {"agent": request.asker, "delivery_id": request.asked_in} if b % 8 else {}
    return author.command(
        a, b, c, "WithdrawRequest", run_id=run_id, message=body, causation_id=delivery.events[-1] if delivery else "",
        **own,
    )  # fmt: skip


def _redrive(author: Author, a: int, b: int, c: int) -> Command | None:
    """A dead letter of a live run, mostly one that is there."""
    runs = author.history.book.runs
    dead = [(run_id, delivery_id) for run_id, run in runs.items() for delivery_id in run.dead]
    if not dead:
        return None
    run_id, delivery_id = dead[a % len(dead)]
    body = MessageBody(name="", dead_delivery_id=delivery_id if c % 8 else DeliveryId("none"))
    return author.command(a, b, c, "Redrive", run_id=run_id, message=body)


def _discard(author: Author, a: int, b: int, c: int) -> Command | None:
    """A dead letter or a failed call that is given up, of a live run mostly."""
    runs = author.history.book.runs
    dead = [(run_id, "message", str(one)) for run_id, run in runs.items() for one in run.dead]
    dead += [(run_id, "call", str(one)) for run_id, run in runs.items() for one in run.failed_calls]
    if not dead:
        return None
    run_id, what, letter = dead[a % len(dead)]
    reason = "" if c % 8 == 3 else "old"
    if what == "call":
        body = CallBody(capability="search", dead_call_id=CallId(letter if c % 8 else "none"), reason=reason)
        return author.command(a, b, c, "DiscardCall", run_id=run_id, call=body)
    told = MessageBody(
        name="go", recipient="alpha", dead_delivery_id=DeliveryId(letter if c % 8 else "none"), reason=reason
    )
    return author.command(a, b, c, "Discard", run_id=run_id if b % 4 else RUNS[0], message=told)


def _resume(author: Author, a: int, b: int, c: int) -> Command | None:
    """What a run takes over that goes on from another one; mostly of a run that does."""
    runs = [run_id for run_id, run in author.history.book.runs.items() if run.resuming or c % 16 == 7]
    if not runs:
        return None
    run_id = runs[a % len(runs)]
    match b % 4:
        case 0:
            state = StateBody(key=KEYS[c % len(KEYS)], value=VALUES[c % 3], version=c // 4 % 2)
            return author.command(a, b, c, "RestoreState", run_id=run_id, state=state)
        case 1 | 2:
            message = MessageBody(name="draft.ready", recipient=AGENTS[c % 4], data=VALUES[c % 3], sender="beta")
            return author.command(a, b, c, "Resend", run_id=run_id, message=message)
        case _:
            return author.command(a, b, c, "ResumeRun", run_id=run_id, run=RunBody(resumed_from=RunId("before")))


def _redrive_call(author: Author, a: int, b: int, c: int) -> Command | None:
    """A failed call of a live run, mostly one that is there."""
    runs = author.history.book.runs
    dead = [(run_id, call_id) for run_id, run in runs.items() for call_id in run.failed_calls]
    if not dead:
        return None
    run_id, call_id = dead[a % len(dead)]
    body = CallBody(capability="", dead_call_id=call_id if c % 8 else CallId("none"))
    return author.command(a, b, c, "RedriveCall", run_id=run_id, call=body)


def _depend(author: Author, a: int, b: int, c: int) -> Command:
    others = [term for index, term in enumerate((*AGENTS, *TERMS)) if c >> index & 1]
    trigger_when, count = WHEN[a // 32]
    late = (0, 0, 4)[a % 3]
    body = DependencyBody(
        downstream=AGENTS[b % 4], depends_on=others, trigger_when=trigger_when, count=count, deadline_ms=late
    )
    return author.command(a, b, c, "DeclareDependency", dependency=body)


def _decision(author: Author, a: int, b: int, c: int) -> Command:
    body = DecisionBody(action="choose", context_used=["plan", "plan@1", KEYS[c % len(KEYS)]])
    return author.command(a, b, c, "RecordDecision", decision=body)


def _call(author: Author, a: int, b: int, c: int) -> Command:
    config = ("", '{"retry":{"max_attempts":1}}')[a % 2]
    local = b % 4 == 3
    body = CallBody(capability=("search", "text")[c % 2], params=VALUES[b % 3], config=config, local=local)
    return author.command(a, b, c, "CallCapability", call=body)


def _await(author: Author, a: int, b: int, c: int) -> Command:
    return author.command(a, b, c, "AwaitRun", run=RunBody())


def _end(author: Author, a: int, b: int, c: int) -> Command:
    if c % 4:  # rarely, so that runs live long enough for something to happen
        return _await(author, a, b, c)
    kind = ("CompleteRun", "FailRun", "CancelRun")[b % 3]
    return author.command(a, b, c, kind, run=RunBody(result=VALUES[c % 3], reason="because"))


def _leave(author: Author, a: int, b: int, c: int) -> Command:
    """A handler ends its own run, rarely."""
    return _decision(author, a, b, c) if c % 4 else _end(author, a, b, 0)


def _child(author: Author, a: int, b: int, c: int) -> Command:
    """Starts a child, or asks for one that was started, or for none."""
    kind = ("StartChild", "AwaitChild", "StartChild", "AwaitChild", "CancelChild")[b % 5]
    if kind == "StartChild":
        given = RUNS[a % len(RUNS)] if c % 16 == 15 else ""
        body = RunBody(
            workflow="w", input=VALUES[a % 3], complete_when=("explicit", "idle")[c % 2], child_run_id=RunId(given),
            deadline_ms=(0, 0, 9)[a % 3],
        )  # fmt: skip
        return author.command(a, b, c, kind, run=body)
    if not author.started:
        return author.command(a, b, c, kind, run=RunBody(child_run_id=RunId("nobody")))
    parent, child = author.started[-1 - a % len(author.started)]
    return author.command(a, b, c, kind, run_id=parent, run=RunBody(child_run_id=RunId(child), reason="because"))


def _timer(author: Author, a: int, b: int, c: int) -> Command | None:
    """A timer of a live run, due or not; now and then with a time it never had, or from somebody else."""
    runs = author.history.book.runs
    armed = [(run_id, name, due) for run_id, run in runs.items() for name, due in run.timers.items()]
    if not armed:
        return None
    run_id, name, due = armed[a % len(armed)]
    fired = timers.fired(run_id, "correlation", name, due if b % 8 else due - 1, len(author.history.entries))
    return fired if c % 16 else msgspec.structs.replace(fired, agent="ghost")


def _contract(author: Author, a: int, b: int, c: int) -> Command:
    """Mostly one that lets all writes through, so that the values go on changing."""
    target = "message" if b % 8 == 7 else "state"
    pattern = (
        ("draft.*", "*")[c % 2]
        if target == "message"
        else ("plan", "plan", "notes", "alpha.*", "*.draft", "n*s", "a[", "plan")[c % 8]
    )
    schema = "{}" if a % 4 else ('{"type":"array"}', '{"type":"integer"}', '{"type":"number"}', "[]")[a // 4 % 4]
    reducer = ("replace", "append", "merge", "counter", "set-union", "", "sum")[b // 8 % 7] if target == "state" else ""
    run_id = RUNS[0] if c % 32 == 31 else ""
    body = ContractBody(
        target=target,
        pattern=pattern,
        schema=schema,
        reducer=reducer,
        schema_id=c,
        ttl_ms=(0, 0, 2)[c % 3],
        workflow=("", "", "w", "other")[c // 4 % 4],
    )
    if b % 16 == 6:
        return author.command(a, b, c, "RemoveContract", run_id=run_id, contract=body)
    return author.command(a, b, c, "ApplyContract", run_id=run_id, contract=body)


def _register(author: Author, a: int, b: int, c: int) -> Command:
    name = AGENTS[b % 4]
    spec: dict[str, Any] = {"capabilities": ["s*"], "max_deliveries": c % 3, "handler_timeout_ms": (0, 0, 1)[a % 3]}
    spec |= {"supervisor": ("", "", "delta", "alpha", "nobody")[c % 5], **SPECS[name]}
    run_id = RUNS[0] if c % 32 == 31 else ""
    if b % 8 > 4:
        spec["retries"] = {"": ('{"initial_ms":2,"factor_percent":200}', '{"attempts":2}', '{"initial_ms":-1}')[b % 3]}
    if c % 8 == 5:
        gone = author.command(a, b, c, "RemoveAgent", run_id=run_id, registration=RegistrationBody(name=name))
        return msgspec.structs.replace(gone, agent="bp.operator") if c % 16 == 5 else gone
    return author.command(a, b, c, "RegisterAgent", run_id=run_id, registration=RegistrationBody(name=name, **spec))


INSIDE: Final[tuple[Move, ...]] = (
    _state, _message, _call, _depend, _decision, _state, _call, _await, _ask, _ask, _child, _leave,
)  # fmt: skip
OUTSIDE: Final[tuple[Move, ...]] = (
    _state, _message, _call, _depend, _decision, _await, _end, _register, _start, _child,
)  # fmt: skip
MOVES: Final[tuple[Move, ...]] = (
    _state, _message, _state, _ask, _depend, _depend, _decision, _call, _end, _start, _register, _state,
    _timer, _timer, _redrive, _redrive_call, _withdraw,
    _discard, _resume, _resume, _contract, _contract, _child, _child, *(Author.hear,) * 3,
    *(Author.handler_command,) * 5, *(Author.settle,) * 9, *(Author.executor,) * 7, *(Author.again,) * 4,
    Author.malformed, Author.malformed,
)  # fmt: skip


def prelude(author: Author) -> Iterator[Command]:
    """All agents registered, two runs started, work in the first that others wait for: without it most histories
    would only be refusals, and agents would seldom be busy with two things."""
    for number in range(len(AGENTS)):
        yield _register(author, 0, number, 2)
    yield _start(author, 0, 0, 7)
    yield _start(author, 1, 2, 7)
    for number in range(3):
        yield _message(author, 0, 2 * number, 0)
    yield _depend(author, 0, 3, 0b0001)
    yield _depend(author, 0, 2, 0b0011)


def play(choices: bytes, before: Callable[[PartitionState, Command, int, int], None] | None = None) -> History:
    """The history that the bytes stand for; the same bytes always give the same one."""
    history = History(before=before)
    author = Author(history)
    if not choices[:1] or choices[0] < 224:
        for opening in prelude(author):
            author.note(history.send(opening))
    for start in range(1, len(choices) - 3, 4):
        move, a, b, c = choices[start : start + 4]
        chosen = MOVES[(move - 1) % len(MOVES)] if move else None
        command = chosen(author, a, b, c) if chosen else None
        if command is not None:
            author.note(history.send(command, 1 + (c == 9)))
    return history


CHOICES: Final = st.binary(min_size=161, max_size=321)
HISTORIES: Final = CHOICES.map(play)
TEXTS: Final = st.one_of(
    st.text(max_size=8), st.sampled_from(("", *RUNS, *SENDERS, *KEYS, "bp.executor", "all_completed", *VALUES))
)


@st.composite
def arbitrary(draw: st.DrawFn) -> Command:
    """Any command at all whose fields have the right Python types."""
    numbers = st.integers(-(2**31), 2**31 - 1)

    def body(name: str) -> Any:
        fields: dict[str, Any] = {
            field.name: draw(
                st.booleans() if field.type is bool else numbers if field.type is int
                else st.lists(TEXTS, max_size=3) if field.type == list[str]
                else st.dictionaries(TEXTS, numbers, max_size=3) if field.type == dict[str, int] else TEXTS
            )
            for field in msgspec.structs.fields(BODIES[name])
        }  # fmt: skip
        return BODIES[name](**fields)

    kind = draw(st.one_of(st.sampled_from(sorted(BODY_OF_KIND)), TEXTS))
    wanted = {BODY_OF_KIND.get(kind, "state"), draw(st.sampled_from(sorted(BODIES)))}
    texts = ("command_id", "run_id", "agent", "correlation_id", "causation_id", "delivery_id", "reply_to")
    envelope: dict[str, Any] = {name: draw(TEXTS) for name in texts}
    bodies = {name: body(name) for name in sorted(wanted) if draw(st.integers(0, 9))}
    return Command(kind=kind, reply_partition=draw(numbers), **envelope, **bodies)
