"""Which right each field of each command needs: what a command refers to is held against the right that using it
directly would need. Pure; see ``decide`` for the law.

``NEEDS`` is the whole table, (kind, field) → right; a field without an entry fails a test. Some rights are held by the
decider of the kind, since it held them before rights were granted. The others are held here, before it decides, where
rights are required.

Three kinds of agents may refer to an artifact. One may read ``artifacts/<sha256>``; one may read a state key whose
value refers to it. The third was given the reference. It came as a result of a call or a request, in a message, or
as the outcome of a child run. To know a hash is no right.
"""

# long because: the table of rights beside what holds them: apart, nobody would see what a right means

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from agents_sdk.core import artifacts, kinds
from agents_sdk.core.commands import BODIES, BODY_OF_KIND, Command
from agents_sdk.core.facts import CallEvent, Fact, MessageEvent, RunEvent, StateEvent
from agents_sdk.core.identity import reserved
from agents_sdk.core.ids import RunId
from agents_sdk.core.ledger.changes import Changes
from agents_sdk.core.ledger.memory import is_memory, scoped
from agents_sdk.core.ledger.rules import check, holds, supervisor_of, takes_part
from agents_sdk.core.ledger.scribe import Refusal
from agents_sdk.core.ledger.state import EndedRun, PartitionState, Run

TEXT: Final = "text"
"""The sender's own: a number, a choice, a text, which refers to nothing."""
UNUSED: Final = "unused"
"""Nothing reads the field in this kind."""
OWN_ID: Final = "own id"
"""Names the command itself: the id of another sender's command is refused."""
OWN_NAME: Final = "own name"
"""Proved by the signature."""
ANSWER: Final = "answer"
"""Where the answer goes; it is the sender's answer wherever it goes, and proved by the sender's key."""
READS, WRITES, PUBLISHES, CAPABILITIES = "reads", "writes", "publishes", "capabilities"
NARROWED: Final = "narrowed"
"""Not refused; the answer is narrowed to what the sender may read."""
STARTS: Final = "starts"
CONTROLS: Final = "controls"
JOINS: Final = "joins"
CHILD: Final = "child"
RECIPIENT: Final = "recipient"
ASKER: Final = "asker"
SUPERVISOR: Final = "supervisor"
ARTIFACTS: Final = "artifacts"
TERMS: Final = "terms"
TRIGGERS: Final = "triggers"
PLATFORM: Final = "platform"
"""Only the platform's own names may say it; of a local call its caller too."""
OPERATOR: Final = "operator"
ASKED: Final = "asked"
"""Wishes of a declaration: they allow nothing that was not granted."""
CONTRACTS: Final = "contracts"
RESTORES: Final = "restores"
"""The right to write the same value again, and to control the run."""
RESENDS: Final = "resends"
"""The right to publish the same message again, and to control the run."""

_HASH: Final = re.compile(r"(?<![0-9a-f])([0-9a-f]{64})(?![0-9a-f])")


def _table() -> dict[tuple[str, str], str]:
    """The table, written by body: a right for all kinds, or one for each."""
    found: dict[tuple[str, str], str] = {}
    for kind, body in BODY_OF_KIND.items():
        for field, right in (*ENVELOPE.items(), *BY_BODY[body].items()):
            found[kind, field] = right if isinstance(right, str) else right.get(kind, UNUSED)
    return found


ENVELOPE: Final[dict[str, str]] = {
    "command_id": OWN_ID,
    "kind": TEXT,
    "run_id": JOINS,
    "agent": OWN_NAME,
    "correlation_id": TEXT,
    "causation_id": RECIPIENT,
    "delivery_id": RECIPIENT,
    "reply_to": ANSWER,
    "reply_partition": ANSWER,
    "issued_at": TEXT,
    "key_generation": OWN_NAME,
    "step": TEXT,
    "signature": OWN_NAME,
}
"""Of every command; ``run_id`` needs what ``RUN_RIGHT`` says of the kind."""
RUN_RIGHT: Final[dict[str, str]] = {
    **dict.fromkeys((kinds.START_RUN,), STARTS),
    **dict.fromkeys(
        (kinds.COMPLETE_RUN, kinds.FAIL_RUN, kinds.CANCEL_RUN, kinds.RESTORE_STATE, kinds.RESEND, kinds.RESUME_RUN),
        CONTROLS,
    ),
    kinds.AWAIT_RUN: JOINS,
    **dict.fromkeys((kinds.REDRIVE, kinds.REDRIVE_CALL, kinds.DISCARD, kinds.DISCARD_CALL), SUPERVISOR),
    kinds.WITHDRAW_REQUEST: ASKER,
    **dict.fromkeys((kinds.START_HANDLER, kinds.COMPLETE_HANDLER, kinds.FAIL_HANDLER), RECIPIENT),
}
"""Kind → the right in the run that it needs; of others, to take part in it."""
BY_BODY: Final[dict[str, dict[str, str | Mapping[str, str]]]] = {
    "run": {
        "workflow": {kinds.START_RUN: STARTS, kinds.START_CHILD: STARTS},
        "input": {kinds.START_RUN: ARTIFACTS, kinds.START_CHILD: ARTIFACTS},
        "complete_when": TEXT,
        "parent_run_id": PLATFORM,
        "root_run_id": PLATFORM,
        "result": {kinds.COMPLETE_RUN: ARTIFACTS, kinds.REPORT_CHILD: PLATFORM},
        "reason": TEXT,
        "deadline_ms": TEXT,
        "deadline_at": PLATFORM,
        "child_run_id": {
            kinds.START_CHILD: TEXT,
            kinds.AWAIT_CHILD: CHILD,
            kinds.CANCEL_CHILD: CHILD,
            kinds.REPORT_CHILD: PLATFORM,
        },
        "status": PLATFORM,
        "state_hash": PLATFORM,
        "budget_nano_usd": TEXT,
        "spent_nano_usd": PLATFORM,
        **dict.fromkeys(("started_by", "code", "said", "said_by"), PLATFORM),
        "rules": TEXT,
        "tags": TEXT,
        "resumed_from": {kinds.START_RUN: CONTROLS, kinds.RESUME_RUN: CONTROLS},
        "completed": {kinds.START_RUN: CONTROLS},
        "published": {kinds.START_RUN: CONTROLS},
    },
    "state": {
        "key": {
            **dict.fromkeys((kinds.SET_STATE, kinds.DELETE_STATE), WRITES),
            **dict.fromkeys((kinds.GET_STATE, kinds.GET_HISTORY), READS),
            kinds.LIST_STATE: NARROWED,
            kinds.RESTORE_STATE: RESTORES,
        },
        "value": {kinds.SET_STATE: ARTIFACTS, kinds.RESTORE_STATE: ARTIFACTS},
        "guarded": TEXT,
        "expected_version": TEXT,
        "version": TEXT,
        "keys": {kinds.GET_STATES: READS},
        "at": TEXT,
        "ttl_ms": TEXT,
    },
    "message": {
        "name": {**dict.fromkeys((kinds.PUBLISH, kinds.SEND_MESSAGE, kinds.ASK), PUBLISHES), kinds.RESEND: RESENDS},
        "recipient": dict.fromkeys((kinds.SEND_MESSAGE, kinds.ASK, kinds.RESEND), TRIGGERS),
        "data": dict.fromkeys((kinds.PUBLISH, kinds.SEND_MESSAGE, kinds.ASK, kinds.RESEND), ARTIFACTS),
        "sender": {kinds.RESEND: CONTROLS},
        "reason": TEXT,
        "deadline_ms": TEXT,
        "dead_delivery_id": {kinds.REDRIVE: SUPERVISOR, kinds.DISCARD: SUPERVISOR},
        "request_id": {kinds.WITHDRAW_REQUEST: ASKER},
        "restart": TEXT,
        "repeat_effects": TEXT,
    },
    "handler": {
        "attempt": TEXT,
        "error_type": TEXT,
        "error_message": TEXT,
        "traceback": TEXT,
        "counted": TEXT,
        "commands": TEXT,
        "difference": TEXT,
        "result": {kinds.COMPLETE_HANDLER: ARTIFACTS},
    },
    "dependency": {
        "downstream": TRIGGERS,
        "depends_on": TERMS,
        "trigger_when": TEXT,
        "name": PUBLISHES,
        "count": TEXT,
        "deadline_ms": TEXT,
    },
    "decision": {"action": TEXT, "rationale": TEXT, "context_used": READS},
    "call": {
        "capability": {kinds.CALL_CAPABILITY: CAPABILITIES},
        "params": {kinds.CALL_CAPABILITY: ARTIFACTS},
        "timeout_ms": TEXT,
        "config": {kinds.CALL_CAPABILITY: ARTIFACTS},
        "budget_nano_usd": TEXT,
        "dead_call_id": {
            kinds.CALL_CAPABILITY: CONTROLS,
            kinds.REDRIVE_CALL: SUPERVISOR,
            kinds.DISCARD_CALL: SUPERVISOR,
        },
        "reason": TEXT,
        "redrives": {kinds.CALL_CAPABILITY: CONTROLS},
        "local": TEXT,
    },
    "attempt": dict.fromkeys(BODIES["attempt"].__struct_fields__, PLATFORM),
    "outcome": dict.fromkeys(BODIES["outcome"].__struct_fields__, PLATFORM),
    "effect": {
        **dict.fromkeys(BODIES["effect"].__struct_fields__, TEXT),
        **dict.fromkeys(("params", "result"), ARTIFACTS),
        "call_id": {kinds.SETTLE_STEP: ASKER},
    },
    "registration": {
        **dict.fromkeys(BODIES["registration"].__struct_fields__, ASKED),
        "name": OWN_NAME,
        "operator": {kinds.REMOVE_AGENT: OPERATOR},
    },
    "timer": {"name": PLATFORM, "due_at": PLATFORM},
    "contract": dict.fromkeys(BODIES["contract"].__struct_fields__, CONTRACTS),
    "key": dict.fromkeys(BODIES["key"].__struct_fields__, OPERATOR),
    "breaker": dict.fromkeys(BODIES["breaker"].__struct_fields__, PLATFORM),
    "skip": dict.fromkeys(BODIES["skip"].__struct_fields__, OPERATOR),
    "grant": dict.fromkeys(BODIES["grant"].__struct_fields__, OPERATOR),
}
"""Body → its fields → the right that a reference in them needs."""
NEEDS: Final = _table()
"""(kind, field) → right, of all kinds and fields."""


def check_all(book: PartitionState, run: Run | None, command: Command) -> None:
    """Holds a command against the rights that its references need, where rights are required and the sender is none of
    the platform's own. Raises Refusal."""
    if not book.rights_required or reserved(command.agent):
        return
    if run is not None and not is_memory(run.run_id):
        _check_handler(run, command)
        _check_run(book, run, command)
    body = getattr(command, BODY_OF_KIND[command.kind])
    for field, hold in HELD_HERE[command.kind]:
        hold(book, run, command, getattr(body, field))


def check_finished(book: PartitionState, finished: EndedRun, command: Command) -> None:
    """The memory of an ended run is only for those that may join it. Raises Refusal."""
    if book.rights_required and not reserved(command.agent):
        joins(book, command.agent, finished.workflow, finished.started_by)


def _check_handler(run: Run, command: Command) -> None:
    """The sender that says it handles a delivery is its recipient."""
    delivery_id = run.attempts.get(command.causation_id, command.delivery_id)
    if not delivery_id and not command.delivery_id:
        return
    for named in dict.fromkeys((command.delivery_id, delivery_id)):
        if not named or named in run.settled:
            continue
        delivery = run.deliveries.get(named)  # None: of another run, where a handler speaks about this one
        if delivery is not None and delivery.recipient != command.agent:
            message = f"the delivery is {delivery.recipient!r}'s, not {command.agent!r}'s"
            raise Refusal("scope", message, rule="recipient")


def _check_run(book: PartitionState, run: Run, command: Command) -> None:
    right = RUN_RIGHT.get(command.kind, "workflows")
    if right == "workflows":
        _takes_part(book, run, command)
    elif right == JOINS:
        joins(book, command.agent, run.workflow, run.started_by)
    elif right == CONTROLS:
        check(book, command.agent, CONTROLS, "end runs of", workflow=run.workflow)


def _takes_part(book: PartitionState, run: Run, command: Command) -> None:
    """By its workflows, or while it handles what the platform or others of the run have given it."""
    if takes_part(book, command.agent, run.workflow):
        return
    delivery = run.deliveries.get(command.delivery_id)
    if delivery is None or delivery.recipient != command.agent:
        check(book, command.agent, "workflows", "take part in runs of", workflow=run.workflow)


def joins(book: PartitionState, agent: str, workflow: str, started_by: str) -> None:
    """Returns when the agent may know how the run goes and ends. Raises Refusal."""
    if agent == started_by or takes_part(book, agent, workflow) or holds(book, agent, CONTROLS, workflow):
        return
    message = f"agent {agent!r} neither started this run nor takes part in, or controls, runs of {workflow!r}"
    raise Refusal("scope", message, rule="runs", workflow=workflow)


def check_supervisor(book: PartitionState, run: Run, command: Command, failed: str) -> None:
    """Returns when the sender may redrive what ``failed`` could not do: as its supervisor, or in control of the run.
    Raises Refusal."""
    if book.rights_required and command.agent != supervisor_of(book, failed):
        check(book, command.agent, CONTROLS, "redrive in runs of", workflow=run.workflow)


def check_discard(book: PartitionState, run: Run | None, command: Command, failed: str) -> None:
    """Returns when the sender may give up a dead letter of ``failed``, also of a run that has ended. Raises Refusal."""
    if run is not None:
        check_supervisor(book, run, command, failed)
    else:
        finished = book.finished.get(command.run_id)
        workflow = finished.workflow if finished is not None else ""
        check(book, command.agent, CONTROLS, "discard in runs of", workflow=workflow)


def _starts(book: PartitionState, run: Run | None, command: Command, workflow: str) -> None:
    check(book, command.agent, STARTS, "start runs of", workflow=workflow)


def _child(book: PartitionState, run: Run | None, command: Command, child_run_id: RunId) -> None:
    child = run.children.get(child_run_id) if run is not None else None
    if child is None or child.agent == command.agent:
        return
    if command.kind == kinds.CANCEL_CHILD:
        check(book, command.agent, CONTROLS, "cancel runs of", workflow=child.workflow)
    else:
        joins(book, command.agent, child.workflow, child.agent)


def _platform(book: PartitionState, run: Run | None, command: Command, value: Any) -> None:
    if value:
        message = f"{command.agent!r} may not say what only the platform knows of a run"
        raise Refusal("scope", message, rule="ledger")


def _triggers(book: PartitionState, run: Run | None, command: Command, agent: str) -> None:
    """A message is for those who take part; what an agent waits for itself is nobody else's matter."""
    assert run is not None
    if command.kind == kinds.DECLARE_DEPENDENCY and agent != command.agent:
        name = command.dependency.name if command.dependency is not None else ""
        check(book, command.agent, PUBLISHES, "have published", name=name or "dependency.satisfied")
    if agent in book.agents and not takes_part(book, agent, run.workflow):
        message = f"agent {agent!r} takes no part in runs of {run.workflow!r}"
        raise Refusal("scope", message, rule="workflows", agent=agent)


def _terms(book: PartitionState, run: Run | None, command: Command, terms: list[str]) -> None:
    """A waiter learns of the awaited thing: a state key as by reading it, an event as by hearing or saying it."""
    for term in terms:
        kind, _, name = term.partition(":")
        if kind == "state":
            check(book, command.agent, READS, "wait for state", key=scoped(command.run_id, name))
        elif kind == "event" and not holds(book, command.agent, PUBLISHES, name):
            check(book, command.agent, "subscriptions", "wait for event", name=name)


def _controls(book: PartitionState, run: Run | None, command: Command, value: Any) -> None:
    """To go on from an ended run, to repeat its calls and to speak for its agents is to control it."""
    if value and not _own_failure(run, command):
        workflow = run.workflow if run is not None else command.run.workflow if command.run is not None else ""
        check(book, command.agent, CONTROLS, "go on in runs of", workflow=workflow)


def _own_failure(run: Run | None, command: Command) -> bool:
    """Whether the command repeats a call of the sender's own."""
    failed = run.failed_calls.get(command.call.dead_call_id) if run is not None and command.call is not None else None
    return failed is not None and failed.agent == command.agent


def _restores(book: PartitionState, run: Run | None, command: Command, key: str) -> None:
    check(book, command.agent, WRITES, "restore state", key=scoped(command.run_id, key))


def _resends(book: PartitionState, run: Run | None, command: Command, name: str) -> None:
    check(book, command.agent, PUBLISHES, "send anew", name=name)


def _artifacts(book: PartitionState, run: Run | None, command: Command, payload: str) -> None:
    own = command.state.key if command.kind == kinds.SET_STATE and command.state is not None else ""
    check_artifacts(book, run, command, payload, bare=command.kind == kinds.CALL_CAPABILITY, own=own)


def check_artifacts(
    book: PartitionState, run: Run | None, command: Command, payload: str, *, bare: bool = False, own: str = ""
) -> None:
    """Returns when the sender may refer to all the artifacts that the payload names. ``bare``: a hash alone counts as
    well, since a provider may take it for one; ``own``: the state key that is written. Raises Refusal."""
    for sha256 in referenced(payload, bare=bare):
        key = artifacts.key_of(sha256)
        if own == key or known_to(book, run, command.agent, sha256):
            continue
        check(book, command.agent, READS, "refer to", key=scoped(command.run_id, key))


def referenced(payload: str, *, bare: bool = False) -> list[str]:
    """The SHA-256 of each artifact that the JSON text names, in whatever letters are escaped."""
    text = payload
    if "\\" in payload:
        try:
            text = msgspec.json.encode(msgspec.json.decode(payload)).decode()
        except (msgspec.DecodeError, RecursionError):
            return []  # no JSON: refused, or not read, by its receiver
    found = artifacts.named(text)
    return list(dict.fromkeys((*found, *_HASH.findall(text)))) if bare else found


def known_to(book: PartitionState, run: Run | None, agent: str, sha256: str) -> bool:
    """Whether the agent was given a reference to the artifact, or may read a value with one."""
    if run is None:
        return False
    if agent in run.files_of.get(sha256, ()):
        return True
    keys = run.files_in.get(sha256, ())
    return any(holds(book, agent, READS, scoped(run.run_id, key)) for key in keys)


def fold(run: Run, fact: Fact, changes: Changes) -> None:
    """Notes who was given a reference to an artifact by the fact."""
    if type(fact) is StateEvent:
        if fact.kind == kinds.STATE_WRITTEN and artifacts.SCHEME in fact.value:
            for sha256 in referenced(fact.value):
                _note(run.files_in, sha256, fact.key, changes)
        return
    payload, agent = _given(run, fact)
    if agent and artifacts.SCHEME in payload:
        for sha256 in referenced(payload):
            _note(run.files_of, sha256, agent, changes)


def _note(noted: dict[str, set[str]], sha256: str, by: str, changes: Changes) -> None:
    if sha256 not in noted:
        changes.put(noted, sha256, set())
    changes.add(noted[sha256], by)


def _given(run: Run, fact: Fact) -> tuple[str, str]:
    """A payload, and who is given it by the fact."""
    if type(fact) is MessageEvent:
        if fact.kind == kinds.MESSAGE_DELIVERED:
            return fact.data, fact.recipient
        request = run.requests.get(fact.request_id) if fact.kind == kinds.REQUEST_ANSWERED else None
        return (fact.result, request.asker) if request is not None else ("", "")
    if type(fact) is CallEvent and fact.kind == kinds.CALL_COMPLETED and not fact.local:
        call = run.calls.get(fact.call_id)
        return fact.result, call.agent if call is not None else ""
    if type(fact) is RunEvent and fact.kind == kinds.CHILD_ENDED:
        child = run.children.get(fact.child_run_id)
        return fact.result, child.agent if child is not None else ""
    return "", ""


Hold = Callable[[PartitionState, "Run | None", Command, Any], None]
HOLDS: Final[dict[str, Hold]] = {
    STARTS: _starts,
    CHILD: _child,
    TRIGGERS: _triggers,
    TERMS: _terms,
    CONTROLS: _controls,
    RESTORES: _restores,
    RESENDS: _resends,
    ARTIFACTS: _artifacts,
}
"""Right → what holds a field against it here; of others the deciders do."""


def _held_here(kind: str) -> tuple[tuple[str, Hold], ...]:
    if kind == kinds.COMPLETE_HANDLER:
        return ()  # a refusal would leave the asker waiting: a result that is not allowed fails the attempt
    body = BODY_OF_KIND[kind]
    holds_of = {**HOLDS, PLATFORM: _platform} if body == "run" else HOLDS
    fields = ((field, holds_of.get(NEEDS.get((kind, field), ""))) for field in BODIES[body].__struct_fields__)
    return tuple((field, hold) for field, hold in fields if hold is not None)


HELD_HERE: Final = {kind: _held_here(kind) for kind in BODY_OF_KIND}
"""Kind → the fields of its body that are held here, and by what."""
