"""Divergence: an attempt at a delivery asks for something else than is recorded. Pure; see ``decide`` for the law.

A handler that runs again gets the recorded answers of its commands. That is right only while it asks for the same.
Where it does not, the command is refused with ``diverged``, and nothing else of that attempt has an effect. The
delivery is parked: its run waits until somebody decides. It is then continued by a corrected agent, restarted from
nothing, or failed. ``on_divergence`` of the agent decides at once instead.

Laws: no answer is given to another command than the one it was recorded for. A handler completes only where it has
asked for all that is recorded. The attempts up to a divergence have no further effect, whatever their processes send.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from agents_sdk.core import ids, kinds
from agents_sdk.core.commands import Command, HandlerBody, MessageBody
from agents_sdk.core.facts import MessageEvent
from agents_sdk.core.identity import LEDGER
from agents_sdk.core.ids import CallId, DeliveryId
from agents_sdk.core.ledger import contracts, dead_letters, discards, fingerprints
from agents_sdk.core.ledger.agents import absent
from agents_sdk.core.ledger.deliveries import about, first_at
from agents_sdk.core.ledger.memory import is_memory
from agents_sdk.core.ledger.reducers import REPLACE
from agents_sdk.core.ledger.references import check_discard, check_supervisor
from agents_sdk.core.ledger.rules import DURABLE, apart, supervisor_of
from agents_sdk.core.ledger.scribe import TEXT_LIMIT, FactBuilder, Refusal
from agents_sdk.core.ledger.state import Answer, Call, ChildWait, Delivery, PartitionState, Request, Run

DIVERGED: Final = "diverged"
"""Code of the refusal, and cause of what follows from it."""
HANDLER_DIVERGED: Final = "HandlerDiverged"
"""Error type of a FailHandler that tells of a divergence in a memory, which is another partition's matter."""
PARK, RESTART, FAIL = "park", "restart", "fail"
ON_DIVERGENCE: Final = (PARK, RESTART, FAIL)
RESTART_LIMIT: Final = 10
"""Restarts of one delivery that nobody asked for; the next divergence parks it."""
EFFECTS_SHOWN: Final = 10
NOTHING: Final = "nothing"
VALUE_VARIES: Final = (
    "a value that each attempt makes for itself (its number, the time, chance, the text of a model) has to come from"
    " the record: ctx.step keeps what a function gives, and ctx.now, ctx.uuid and ctx.random are the same each time"
)
PATH_VARIES: Final = (
    "name the steps that stay by ctx.named and go on with the corrected agent, restart the delivery, or fail it;"
    " on_divergence of the agent decides beforehand"
)
"""Next steps, where the same is asked for with another value, and where the code takes another path."""
LASTING: Final = frozenset(
    {
        *(kinds.PUBLISH, kinds.SEND_MESSAGE, kinds.ASK, kinds.START_CHILD, kinds.CANCEL_CHILD),
        *(kinds.DECLARE_DEPENDENCY, kinds.REDRIVE, kinds.REDRIVE_CALL, kinds.DISCARD, kinds.DISCARD_CALL),
    }
)
"""Kinds that others have acted on, and would act on a second time. Beside them: calls whose unsafe effect was begun,
and writes that a contract joins with the value before."""


class Diverged(Refusal):
    """The command differs from the recorded one."""

    def __init__(self, message: str, difference: dict[str, Any], parked: bool) -> None:
        super().__init__(DIVERGED, message, difference=difference, parked=parked)
        self.difference = difference


def marked(run: Run | None, command: Command) -> bool:
    """Whether the command is a handler's, in a run by rules that keep fingerprints. A memory has no rules of its own:
    the sender that names the step knows them."""
    return bool(command.delivery_id) and run is not None and (run.rules >= DURABLE or bool(command.step))


def check_attempt(run: Run, command: Command) -> None:
    """Returns when the attempt that sends the command may have effects. Raises Refusal where its delivery is parked, or
    was continued or restarted after this attempt."""
    delivery = run.deliveries.get(command.delivery_id)
    if delivery is None or not (delivery.parked or command.causation_id in delivery.superseded):
        return
    state = "is parked" if delivery.parked else "was continued by another attempt"
    raise Refusal(DIVERGED, f"delivery {command.delivery_id} {state} after a divergence", parked=True)


def check_same(run: Run, command: Command, known: Answer | Call | Request | ChildWait, asked: str) -> None:
    """Returns when the command asks for what is recorded under its id. ``asked`` is its fingerprint, empty
    for a command that has none. Raises Diverged."""
    if not asked or not known.fingerprint or known.fingerprint == asked:
        return
    event_id = known.event_id if isinstance(known, Answer) else ""
    raise _diverged(run, command, _place(run, command), known.fingerprint, asked, event_id)


def check_all_asked(run: Run, command: Command, body: HandlerBody) -> None:
    """Returns when the attempt that completes has asked for all that is recorded. Raises Diverged. Its place is the
    number of commands that were asked for. Where steps are named, any of them may be missing, so it lists all."""
    if not body.counted or command.delivery_id not in run.deliveries:
        return
    recorded = _recorded(run, command.delivery_id)
    if len(recorded) > body.commands:
        left_out, event_id = recorded[body.commands]
        diverged = _diverged(run, command, str(body.commands), left_out, NOTHING, event_id)
        listed = ", ".join(_shown(fingerprint) for fingerprint, _ in recorded[:EFFECTS_SHOWN])
        diverged.message += f"; {len(recorded)} commands are recorded, of which it asked for {body.commands}: {listed}"
        raise diverged


def _recorded(run: Run, delivery_id: DeliveryId) -> list[tuple[str, str]]:
    """Fingerprint and fact of each recorded command of the delivery's handler, in order."""
    found = []
    for command_id in run.issued.get(delivery_id, ()):
        answer = run.answers.get(command_id)
        known = answer or run.calls.get(CallId(command_id)) or run.requests.get(command_id)
        if known is not None and known.fingerprint:
            found.append((known.fingerprint, answer.event_id if answer is not None else ""))
    return found


def _place(run: Run, command: Command) -> str:
    """The step, by the sender's word; else its number among the recorded ones."""
    issued = run.issued.get(command.delivery_id, [])
    return command.step or (str(issued.index(command.command_id)) if command.command_id in issued else "")


def _diverged(run: Run, command: Command, place: str, recorded: str, asked: str, event_id: str) -> Diverged:
    delivery = run.deliveries.get(command.delivery_id)
    difference = {
        "agent": command.agent,
        "handler": delivery.name if delivery is not None else "",
        "attempt": delivery.attempt if delivery is not None else 0,
        "place": place,
        "recorded": recorded,
        "asked": asked,
        "recorded_event_id": event_id,
        **({"memory": run.run_id} if is_memory(run.run_id) else {}),
    }
    message = f"at place {place!r} {_shown(recorded)} is recorded, and this attempt asks for {_shown(asked)}"
    same = [fingerprints.kind_of, fingerprints.target_of]
    varies = all(part(recorded) == part(asked) for part in same)
    message += f" with other content; {VALUE_VARIES}" if varies else f"; {PATH_VARIES}"
    return Diverged(message, difference, parked=delivery is not None and delivery.recipient == command.agent)


def _shown(fingerprint: str) -> str:
    if fingerprint == NOTHING:
        return "nothing more"
    kind, target = fingerprints.kind_of(fingerprint), fingerprints.target_of(fingerprint)
    return f"{kind} of {target!r}" if target else kind


def settle(book: PartitionState, run: Run, command: Command, diverged: Diverged, scribe: FactBuilder) -> None:
    """Writes what becomes of the delivery whose attempt diverged; nothing where the command is of no delivery of its
    sender's in this run."""
    delivery = run.deliveries.get(command.delivery_id)
    if delivery is None or delivery.recipient != command.agent:
        return
    spec = book.agents.get(delivery.recipient)
    wish = spec.on_divergence if spec is not None else PARK
    text = ids.canonical(diverged.difference)
    if wish == FAIL:
        fail(book, run, command.delivery_id, diverged.message, text, "", scribe)
    elif wish == RESTART and delivery.restarts < RESTART_LIMIT and not effects(book, run, command.delivery_id):
        _restart(run, command.delivery_id, delivery, text, scribe)
    else:
        _park(book, run, command.delivery_id, delivery, diverged.message, text, scribe)


def told(book: PartitionState, run: Run, command: Command, body: HandlerBody, scribe: FactBuilder) -> None:
    """An attempt diverged in a memory, which only its process can tell here."""
    try:
        difference = msgspec.json.decode(body.difference, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeError):
        difference = {}
    kept = {name: str(difference.get(name, ""))[:TEXT_LIMIT] for name in ("place", "recorded", "asked", "memory")}
    delivery = run.deliveries[command.delivery_id]
    kept |= {"agent": command.agent, "handler": delivery.name}
    message = f"agent {command.agent!r} says that its attempt diverged in a memory"
    settle(book, run, command, Diverged(message, {**kept, "attempt": delivery.attempt}, parked=True), scribe)


def _park(
    book: PartitionState, run: Run, delivery_id: DeliveryId, delivery: Delivery, reason: str, difference: str,
    scribe: FactBuilder,
) -> None:  # fmt: skip
    error = _error(run, reason)
    parked = scribe.write(
        MessageEvent,
        kinds.MESSAGE_PARKED,
        **about(run, delivery_id, delivery),
        data=delivery.data,
        attempt=delivery.attempt,
        cause=DIVERGED,
        **error,
        difference=difference,
    )
    story = dead_letters.story_of(run, delivery_id, delivery, DIVERGED, error, scribe)
    story["difference"] = msgspec.Raw(difference.encode())
    last = delivery.name == dead_letters.ESCALATION and delivery.sender == LEDGER
    dead_letters.escalate(book, run, parked.event_id, story, scribe, last=last)


def _error(run: Run, reason: str) -> dict[str, Any]:
    if not apart(run):
        return {"error_type": HANDLER_DIVERGED, "error_message": reason[:TEXT_LIMIT]}
    return {"code": DIVERGED, "reason": reason[:TEXT_LIMIT]}


def _again(run: Run, delivery_id: DeliveryId, delivery: Delivery, restarts: int, scribe: FactBuilder) -> None:
    """The next attempt, for an agent that may have been corrected."""
    scribe.write(
        MessageEvent,
        kinds.MESSAGE_DELIVERED,
        **about(run, delivery_id, delivery),
        data=delivery.data,
        attempt=delivery.attempt + 1,
        deadline_at=delivery.deadline_at,
        restarts=restarts,
        rules=scribe.rules,
        first_at=first_at(run, delivery),
    )


def _restart(run: Run, delivery_id: DeliveryId, delivery: Delivery, difference: str, scribe: FactBuilder) -> None:
    """MessageRestarted: nothing of what is recorded counts any more, and the ids of the next attempt are others."""
    restarts = delivery.restarts + 1
    fields = about(run, delivery_id, delivery)
    scribe.write(
        MessageEvent,
        kinds.MESSAGE_RESTARTED,
        **fields,
        attempt=delivery.attempt,
        cause=DIVERGED,
        difference=difference,
        restarts=restarts,
    )
    _again(run, delivery_id, delivery, restarts, scribe)


def fail(
    book: PartitionState,
    run: Run,
    delivery_id: DeliveryId,
    reason: str,
    difference: str,
    said_by: str,
    scribe: FactBuilder,
) -> None:
    """MessageDeadLettered, with all that follows from a message that nobody could handle."""
    delivery = run.deliveries[delivery_id]
    error = {"code": DIVERGED, "reason": reason[:TEXT_LIMIT]} if apart(run) else _error(run, reason)
    if said_by:
        error |= {"error_message": reason[:TEXT_LIMIT], "said_by": said_by, "error_type": ""}
        error |= {"reason": f"{said_by!r} failed the delivery, which was parked after a divergence"}
    dead_letters.bury(book, run, delivery_id, delivery, DIVERGED, error, scribe, difference=difference)


def effects(book: PartitionState, run: Run, delivery_id: DeliveryId) -> list[str]:
    """The recorded commands of the delivery's handler with effects that a restart would repeat, as people read them."""
    found = []
    for command_id in run.issued.get(delivery_id, ()):
        answer, call = run.answers.get(command_id), run.calls.get(CallId(command_id))
        known = call or run.requests.get(command_id) or answer
        if known is None or (answer is not None and answer.status == "refused"):
            continue
        kind, target = fingerprints.kind_of(known.fingerprint), fingerprints.target_of(known.fingerprint)
        lasting = kind in LASTING or bool(call is not None and call.started)
        if kind == kinds.SET_STATE:
            contract = contracts.governing(book, contracts.STATE, target, run.workflow)
            lasting = contract is not None and contract.reducer != REPLACE
        if lasting:
            found.append(_shown(known.fingerprint))
    return found


def redrive(book: PartitionState, run: Run, command: Command, scribe: FactBuilder) -> None:
    """Redrive of a parked delivery → MessageContinued or MessageRestarted, and its next attempt; of a dead letter: see
    ``dead_letters``."""
    body = command.message
    assert body is not None
    delivery = run.deliveries.get(body.dead_delivery_id)
    if delivery is None or not delivery.parked:
        if body.restart:
            message = f"delivery {body.dead_delivery_id!r} is not parked; only a parked one is restarted"
            raise Refusal("invalid_command", message, field="restart")
        dead_letters.redrive(book, run, command, scribe)
        return
    if book.rights_required:
        check_supervisor(book, run, command, delivery.recipient)
    _check_sender(book, command, delivery)
    if absent(book, delivery.recipient):
        message = f"agent {delivery.recipient!r} was removed; start it, then go on"
        raise Refusal("unknown_agent", message, agent=delivery.recipient)
    if not body.restart:
        fields = about(run, body.dead_delivery_id, delivery)
        scribe.write(MessageEvent, kinds.MESSAGE_CONTINUED, **fields, attempt=delivery.attempt, cause=DIVERGED)
        _again(run, body.dead_delivery_id, delivery, delivery.restarts, scribe)
        return
    repeated = [] if body.repeat_effects else effects(book, run, body.dead_delivery_id)
    if repeated:
        shown = ", ".join(repeated[:EFFECTS_SHOWN])
        message = f"a restart would repeat {len(repeated)} effects: {shown}; continue it, or allow it by repeat_effects"
        raise Refusal("invalid_command", message, field="restart", effects=repeated[:EFFECTS_SHOWN])
    _restart(run, body.dead_delivery_id, delivery, delivery.parked, scribe)


def discard(book: PartitionState, run: Run, command: Command, scribe: FactBuilder) -> None:
    """Discard of a parked delivery → it fails, for the reason given; of a dead letter: see ``discards``."""
    body = command.message
    delivery = run.deliveries.get(body.dead_delivery_id) if body is not None else None
    if body is None or delivery is None or not delivery.parked:
        discards.discard(book, run, command, scribe)
        return
    if book.rights_required:
        check_discard(book, run, command, delivery.recipient)
    _check_sender(book, command, delivery)
    _check_reason(body)
    fail(book, run, body.dead_delivery_id, body.reason, delivery.parked, command.agent, scribe)


def _check_sender(book: PartitionState, command: Command, delivery: Delivery) -> None:
    if book.rights_required or command.agent not in book.agents:
        return
    if command.agent != supervisor_of(book, delivery.recipient):
        message = f"agent {command.agent!r} is not the supervisor of {delivery.recipient!r}"
        raise Refusal("scope", message, rule="supervisor")


def _check_reason(body: MessageBody) -> None:
    if not body.reason.strip():
        raise Refusal("invalid_command", "a parked delivery is failed for a reason; say which", field="reason")
