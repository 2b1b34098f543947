"""No value of any field of any command does more than be refused or accepted: the values are derived from the schema.

In a book in which something of everything is open, each field of each kind of command takes each hostile value of its
type, whoever says it. Nothing may end as ``internal_error``: that is for faults that we do not know yet.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents_sdk import schemas
from agents_sdk.core import bounds
from agents_sdk.core.commands import BODIES, BODY_OF_KIND, AttemptBody, Command
from agents_sdk.core.facts import Fact, RefusalEvent
from agents_sdk.core.ids import CallId, RunId
from agents_sdk.core.ledger import Limits, PartitionState, Proof, Step, apply, evolve, issued
from agents_sdk.core.ledger.evolve import copy
from agents_sdk.core.ledger.sizes import CLOSING
from tests.properties.test_ledger_laws import CODEC, LAW
from tests.support.ledger_desk import Desk
from tests.support.ledger_strategies import CHOICES, play

NOW: Final = 1_700_000_000_000_000
COMMAND: Final = schemas.latest("Command")
WHOLES: Final = (-(2**63), -(2**62), -(2**31) - 1, -2, -1, 0, 1, 2**31, 2**53 + 1, 2**62, 2**63 - 1)
LONG: Final = 4_000_000
"""Characters: a command of this size is near what a record may have."""
TEXTS: Final = (
    "",
    "\0",
    " ",
    "*",
    "[!a-",
    "[z-a]*" * 9,
    "é🙂" * 200,
    "x" * 300,
    "x" * 1_025,
    "bp.ledger",
    "bp.executor",
    "alpha",
    "r",
    "memory/",
    "memory/lessons",
    "memory/" + "n" * 900,
    "breaker/a/b/c",
    "handler/x/y",
    "state:",
    "event:",
    "run.started",
    "idle",
    "n_completed",
    "NaN",
    "1e999999",
    "-" + "9" * 5_000,
    '"\\ud800"',
    '{"a":1,"a":2}',
    "[" * 20_000,
    "[" * 900 + "]" * 900,
    '{"a":' * 20_000,
    "\N{LINE SEPARATOR}\x1b[2J\x7f\x9b",
    '{"$ref":"#"}',
    '{"fallback":3}',
    '{"fallback":[{"capability":"' + "x" * 70_000 + '"}]}',
)
HUGE: Final = ("x" * LONG, "🙂" * (LONG // 4), '"' + "\\u0000" * (LONG // 6) + '"', "[" + "1," * (LONG // 2) + "1]")
"""Texts that only a few fields are tried with at a time: each costs milliseconds."""


def values_of(type_: Any) -> list[Any]:
    """Hostile values of an Avro type; every one can be written."""
    if isinstance(type_, dict):
        match type_["type"]:
            case "array":
                return [[], ["x"] * 2, *([text] for text in TEXTS), [str(n) for n in range(5_000)], ["y" * 2_000] * 900]
            case "map":
                inner = values_of(type_["values"])
                many = [{str(n): value for n in range(5_000)} for value in inner[-2:]]
                return [{}, {"x" * 9_000: inner[0]}, *({"*": value} for value in inner), *many]
        return values_of(type_["type"])
    if isinstance(type_, list):
        return values_of(next(branch for branch in type_ if branch != "null"))
    match type_:
        case "int" | "long":
            limit = 2**31 if type_ == "int" else 2**63
            return [number for number in WHOLES if -limit <= number < limit]
        case "string":
            return list(TEXTS)
        case "boolean":
            return [True, False]
        case "bytes":
            return [b"", b"\0" * 9_000]
    raise AssertionError(f"no hostile values are known of {type_!r}")


def _record_of(type_: Any) -> dict[str, Any] | None:
    branches = type_ if isinstance(type_, list) else [type_]
    return next((one for one in branches if isinstance(one, dict) and one.get("type") == "record"), None)


BODY_FIELDS: Final = {
    field["name"]: {inner["name"]: inner["type"] for inner in record["fields"]}
    for field in COMMAND["fields"]
    if (record := _record_of(field["type"])) is not None
} | {"attempt": {}}
ENVELOPE_FIELDS: Final = {field["name"]: field["type"] for field in COMMAND["fields"] if field["name"] not in BODIES}


def test_each_field_of_a_command_has_a_bound() -> None:
    """A field that is added without one is named here."""
    declared = {name: set(fields) for name, fields in bounds.BODY_BOUNDS.items()}
    assert declared == {name: {field.name for field in msgspec.structs.fields(body)} for name, body in BODIES.items()}
    assert set(bounds.ENVELOPE) == set(ENVELOPE_FIELDS)


def full_desk() -> Desk:
    """A book in which something of everything is open."""
    desk = Desk()
    desk.register("alpha", subscriptions=["*"], handler_timeout_ms=1_000, supervisor="beta", budget_nano_usd=10**9)
    desk.register("beta", subscriptions=[], max_deliveries=1, call_budgets={"s*": 5}, supervisor="alpha")
    desk.send("ApplyContract", run_id="", target="state", pattern="count", schema="{}", reducer="counter")
    desk.send("ApplyContract", run_id="", target="state", pattern="tags", schema="{}", reducer="set-union")
    desk.send("ApplyContract", run_id="", target="message", pattern="typed", schema='{"type":"object"}')
    desk.start(complete_when="idle", budget_nano_usd=10**12, deadline_ms=10**9)
    for key in ("plan", "count", "tags"):
        desk.send("SetState", key=key, value={"count": "1", "tags": "[1]"}.get(key, '{"a":1}'))
    desk.send("SetState", run_id="memory/lessons", key="plan", value="1")
    desk.send("StartChild", workflow="w", complete_when="idle", command_id="child", child_run_id="c")
    desk.send("AwaitChild", child_run_id="c", command_id="child-wait")
    desk.send("AwaitRun", command_id="wait")
    desk.send("CallCapability", capability="search", params="{}", command_id="call", timeout_ms=1_000)
    desk.send("CallCapability", capability="search", params="{}", command_id="own", agent="alpha", local=True)
    desk.send("CallCapability", capability="search", params="{}", command_id="dead-call")
    desk.send("FailCall", agent="bp.executor", call_id="dead-call", error_code="x", report='{"attempts":[]}')
    desk.send("Ask", name="asked", recipient="alpha", data="1", command_id="asked", deadline_ms=10**6)
    desk.send("DeclareDependency", downstream="beta", depends_on=["alpha", "state:never"], trigger_when="all_completed",
              command_id="dependency", deadline_ms=10**6)  # fmt: skip
    desk.fail(desk.deliver("beta"))
    desk.send("StartRun", run_id="again", workflow="w", complete_when="idle", resumed_from="before", rules=1)
    delivered = desk.deliver("alpha")
    desk.within(delivered, "RecordStep", command_id="claimed", name="pay", mode="claim", unsafe=True, holder="h",
                lease_ms=1)  # fmt: skip
    desk.send("OpenBreaker", agent="bp.executor", run_id="breaker/s/p/timeout", capability="s", provider="p",
              error_class="timeout", open_ms=5)  # fmt: skip
    return desk


DESK: Final = full_desk()
BOOK: Final = msgspec.msgpack.encode(DESK.book)
RUN: Final = DESK.book.runs[RunId("r")]
DELIVERY: Final = next(id_ for id_, one in RUN.deliveries.items() if one.recipient == "alpha")
SOUND: Final[dict[str, dict[str, Any]]] = {
    "StartRun": {"run_id": "new", "workflow": "w", "complete_when": "idle"},
    "CompleteRun": {"result": "1"},
    "FailRun": {"reason": "because"},
    "CancelRun": {"reason": "because"},
    "AwaitRun": {},
    "StartChild": {"workflow": "w", "complete_when": "idle"},
    "AwaitChild": {"child_run_id": "c"},
    "CancelChild": {"child_run_id": "c"},
    "ReportChild": {"agent": "bp.ledger", "child_run_id": "c", "status": "failed", "spent_nano_usd": 5},
    "ResumeRun": {"run_id": "again", "resumed_from": "before", "completed": ["alpha"], "published": ["go"]},
    "RestoreState": {"run_id": "again", "key": "plan", "value": "1", "version": 3},
    "Resend": {"run_id": "again", "name": "go", "recipient": "alpha", "data": "1", "sender": "beta"},
    "Discard": {"name": "", "dead_delivery_id": next(iter(RUN.dead)), "reason": "because"},
    "DiscardCall": {"capability": "", "dead_call_id": "dead-call", "reason": "because"},
    "RemoveContract": {"run_id": "", "target": "state", "pattern": "count", "schema": ""},
    "SetState": {"key": "count", "value": "1"},
    "GetState": {"key": "plan"},
    "GetStates": {"key": "", "keys": ["plan", "count"]},
    "DeleteState": {"key": "plan"},
    "ListState": {"key": ""},
    "GetHistory": {"key": "plan"},
    "Publish": {"name": "typed", "data": "{}"},
    "SendMessage": {"name": "go", "recipient": "alpha", "data": "1"},
    "Ask": {"name": "go", "recipient": "beta", "data": "1"},
    "WithdrawRequest": {"name": "", "request_id": "asked"},
    "Redrive": {"name": "", "dead_delivery_id": next(iter(RUN.dead))},
    "StartHandler": {"agent": "alpha", "delivery_id": DELIVERY},
    "CompleteHandler": {"agent": "alpha", "delivery_id": DELIVERY, "result": "1"},
    "FailHandler": {"agent": "alpha", "delivery_id": DELIVERY, "error_type": "E", "error_message": "no"},
    "DeclareDependency": {"downstream": "beta", "depends_on": ["state:plan"], "trigger_when": "any_completed"},
    "RecordDecision": {"action": "choose", "context_used": ["plan", "plan@1"]},
    "CallCapability": {"capability": "search", "params": "{}"},
    "RedriveCall": {"capability": "", "dead_call_id": "dead-call"},
    "StartAttempt": {"agent": "bp.executor", "call_id": "call", "attempt": 1},
    "RecordAttempt": {"agent": "bp.executor", "call_id": "call", "attempt": 1, "cost_nano_usd": 5},
    "CompleteCall": {"agent": "bp.executor", "call_id": "call", "result": "1"},
    "FailCall": {"agent": "bp.executor", "call_id": "call", "error_class": "timeout", "report": '{"attempts":[]}'},
    "RecordStep": {"agent": "alpha", "delivery_id": DELIVERY, "name": "draft", "mode": "end", "result": "1",
                   "usages": '[{"model":"m","provider":"p","input_tokens":5,"cost_nano_usd":7}]'},
    "SettleStep": {"agent": "alpha", "delivery_id": RUN.calls[CallId("claimed")].delivery_id, "name": "pay",
                   "mode": "end", "result": "1",
                   "call_id": "claimed", "holder": "h", "unsafe": True},
    "RegisterAgent": {"run_id": "", "agent": "gamma", "name": "gamma", "reads": ["*"]},
    "RemoveAgent": {"run_id": "", "agent": "bp.operator", "name": "alpha"},
    "TimerFired": {"agent": "bp.ledger", "name": "run", "due_at": RUN.timers["run"]},
    "ApplyContract": {"run_id": "", "target": "state", "pattern": "*", "schema": '{"type":"object"}'},
    "IssueKey": {"run_id": "", "agent": "bp.operator", "name": "gamma", "generation": 1},
    "RevokeKey": {"run_id": "", "agent": "bp.operator", "name": "gamma", "generation": 1},
    "RequireIdentity": {"run_id": "", "agent": "bp.ledger"},
    "RequireGrants": {"run_id": "", "agent": "bp.ledger", "policy": "first"},
    "GrantRights": {"run_id": "", "agent": "bp.operator", "name": "gamma", "reads": ["*"], "operator": "anna"},
    "SkipRecord": {"run_id": "", "agent": "bp.operator", "partition": 0, "offset": 1, "reason": "it kills"},
    "OpenBreaker": {"run_id": "breaker/a/b/c", "agent": "bp.executor", "capability": "a", "provider": "b",
                    "error_class": "c", "open_ms": 5},
    "ProbeBreaker": {"run_id": "breaker/s/p/timeout", "agent": "bp.executor", "capability": "s", "provider": "p",
                     "error_class": "timeout", "probe_ms": 5},
    "CloseBreaker": {"run_id": "breaker/s/p/timeout", "agent": "bp.executor", "capability": "s", "provider": "p",
                     "error_class": "timeout"},
}  # fmt: skip
"""A command of each kind that is accepted."""


def sound(kind: str) -> Command:
    """A command of this kind that is accepted."""
    fields, shape = SOUND.get(kind, {}), BODIES[BODY_OF_KIND[kind]]
    known = set(shape.__struct_fields__)
    required = {f.name: "" for f in msgspec.structs.fields(shape) if f.required}
    body = shape(**{**required, **{name: value for name, value in fields.items() if name in known}})
    envelope = {name: value for name, value in fields.items() if name not in known}
    common: dict[str, Any] = {"command_id": f"hostile {kind}", "run_id": "r", "agent": "client", "correlation_id": "c"}
    common["issued_at"] = NOW
    return Command(kind=kind, **{**common, "reply_to": "me", BODY_OF_KIND[kind]: body, **envelope})


def variants(kind: str, texts: tuple[str, ...] = ()) -> Iterator[tuple[str, Command]]:
    """(field, command): the sound one with each hostile value in each field; with ``texts`` only those."""
    command, name = sound(kind), BODY_OF_KIND[kind]
    for field, type_ in ENVELOPE_FIELDS.items():
        for value in _tried(type_, texts):
            yield field, msgspec.structs.replace(command, **{field: value})
    for field in msgspec.structs.fields(BODIES[name]):
        for value in _tried(_avro(name, field.name), texts):
            body = msgspec.structs.replace(getattr(command, name), **{field.name: value})
            changed = msgspec.structs.replace(command, **{name: body})
            yield field.name, changed
            if name == "attempt" and kind == "RecordAttempt":  # beside an outcome as well
                beside = msgspec.structs.replace(sound("CompleteCall"), attempt=body)
                yield field.name, beside


def _avro(body: str, field: str) -> Any:
    shape = {f.name: f.type for f in msgspec.structs.fields(BODIES[body])}[field]
    known = BODY_FIELDS.get(body, {}).get(field)
    by_type = {int: "long", str: "string", bool: "boolean"}.get(shape, {"type": "array", "items": "string"})
    return known if known is not None else by_type


def _tried(type_: Any, texts: tuple[str, ...]) -> list[Any]:
    return values_of(type_) if not texts else list(texts) if type_ == "string" else []


def encode_all(facts: list[Fact]) -> None:
    """As the ledger's shell checks a command's facts."""
    for fact in facts:
        assert len(CODEC.encode(fact)) < 3_950_000
        for command in issued(fact):
            assert len(CODEC.encode(command)) < 3_950_000


def held(book: PartitionState, command: Command, at: int, proof: Proof = Proof.UNSIGNED) -> Step:
    """Applies the command and holds what it caused against what may be written."""
    step = apply(book, command, book.applied + 1, at, proof, check=encode_all)
    assert step.failure is None, step.failure
    sizes = [len(CODEC.encode(fact)) for fact in step.facts if fact.kind not in CLOSING]
    assert sum(sizes) < Limits().max_caused_bytes
    for told in step.replies:
        assert len(CODEC.encode(told.reply)) < 3_950_000
    first = step.facts[0] if step.facts else None
    if isinstance(first, RefusalEvent):
        assert sizes[0] < 16_000
        assert len(step.facts) == 1
    for _, _, due in step.timers:
        assert 0 < due < 2**63
    return step


def test_the_sound_commands_are_accepted() -> None:
    """Or else the fields of refused ones would be tried."""
    assert set(SOUND) == set(BODY_OF_KIND)
    refused = {}
    for kind in SOUND:
        step = held(msgspec.msgpack.decode(BOOK, type=PartitionState), sound(kind), NOW, Proof.GOOD)
        if step.facts and isinstance(step.facts[0], RefusalEvent):
            refused[kind] = step.facts[0].message
    assert refused == {}


@pytest.mark.parametrize("kind", sorted(BODY_OF_KIND))
def test_no_value_of_any_field_raises(kind: str) -> None:
    """Every hostile value in every field of every kind; the book goes on and decides the sound command after it."""
    for field, command in variants(kind):
        book = msgspec.msgpack.decode(BOOK, type=PartitionState)
        step = held(book, command, NOW, Proof.GOOD)
        again = msgspec.msgpack.decode(BOOK, type=PartitionState)
        for fact in step.facts:
            evolve(again, fact)
        assert msgspec.structs.replace(again, applied=book.applied) == book, field
        held(book, msgspec.structs.replace(sound(kind), command_id="after"), NOW + 1, Proof.GOOD)


@pytest.mark.parametrize("kind", sorted(BODY_OF_KIND) if os.environ.get("HOSTILE") else ["SendMessage", "FailHandler"])
def test_a_text_of_four_megabytes_in_any_field_is_refused_shortly(kind: str) -> None:
    """All kinds with HOSTILE=1; the refusal has a few thousand bytes, whoever sends it, signed or not."""
    for _, command in variants(kind, HUGE):
        step = held(msgspec.msgpack.decode(BOOK, type=PartitionState), command, NOW)
        assert all(len(CODEC.encode(fact)) < 16_000 for fact in step.facts if fact.kind == "CommandRefused")


SENDERS: Final = ("client", "alpha", "bp.ledger", "bp.executor", "bp.operator", "nobody")


@LAW
@given(CHOICES, st.data())
def test_no_value_of_any_field_raises_in_any_book(choices: bytes, data: st.DataObject) -> None:
    """In the book of any history: several fields at once, any sender, any proof, any time."""
    history = play(choices[:120])
    for _ in range(5):
        kind = data.draw(st.sampled_from(sorted(BODY_OF_KIND)), label="kind")
        tried = list(variants(kind)) if data.draw(st.booleans()) else [("", sound(kind))]
        command = data.draw(st.sampled_from(tried))[1]
        runs = [*history.book.runs, "r", "memory/lessons", ""]
        command = msgspec.structs.replace(
            command,
            run_id=data.draw(st.sampled_from(runs)),
            agent=data.draw(st.sampled_from(SENDERS)),
            command_id=data.draw(st.text(min_size=1, max_size=5)),
        )
        at = data.draw(st.sampled_from((0, NOW, bounds.TIME_LIMIT - 1)))
        held(history.book, command, at, data.draw(st.sampled_from(list(Proof))))


def test_a_hostile_outcome_may_stand_beside_a_hostile_attempt() -> None:
    """Two bodies in one command: both are held against their bounds."""
    outcome = sound("CompleteCall")
    for number in WHOLES:
        attempt = AttemptBody(call_id=CallId("call"), attempt=number, cost_nano_usd=number, capability="s")
        held(copy(DESK.book), msgspec.structs.replace(outcome, attempt=attempt), NOW)


@pytest.mark.parametrize("kind", ["RecordAttempt", "CompleteCall", "FailCall", "StartAttempt"])
def test_what_an_executor_tells_is_brought_within_its_bounds_and_accepted(kind: str) -> None:
    """Counts, models and errors are a provider's words: whatever they are, the call is settled, its cost recorded."""
    telling = {name for name, bound in bounds.BODY_BOUNDS[BODY_OF_KIND[kind]].items()} - {"call_id", "report", "result"}
    for field, command in variants(kind):
        if field not in telling:
            continue
        step = held(msgspec.msgpack.decode(BOOK, type=PartitionState), bounds.within(command), NOW)
        assert step.facts[0].kind != "CommandRefused", (field, step.facts[0])
    surrogate = AttemptBody(call_id=CallId("call"), attempt=1, model="\ud800", error_message="\udfff")
    outcome = msgspec.structs.replace(sound("CompleteCall"), attempt=surrogate)
    assert held(msgspec.msgpack.decode(BOOK, type=PartitionState), bounds.within(outcome), NOW).failure is None
    same = sound(kind)
    assert bounds.within(same) is same
