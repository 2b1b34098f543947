"""A desk to write commands at: a book, and a short method for what the unit tests of the core send again and again."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from agents_sdk.core import ids
from agents_sdk.core.commands import BODIES, BODY_OF_KIND, Command
from agents_sdk.core.facts import Fact, Reply
from agents_sdk.core.ids import RunId
from agents_sdk.core.ledger import Limits, PartitionState, Proof, Step, apply
from agents_sdk.core.ledger.rules import RULES

EXECUTOR: Final = "bp.executor"


class Desk:
    """Sends commands to a book of its own; run ``r`` unless said otherwise, sender ``client``, every one answered."""

    def __init__(self, **limits: int) -> None:
        self.book = PartitionState(limits=Limits(**limits))
        self.proof = Proof.UNSIGNED
        """What the signatures of the commands prove."""
        self.sent: list[Command] = []
        self.facts: list[Fact] = []
        self.replies: list[Reply] = []

    def send(self, kind: str, *, agent: str = "client", run_id: str = "r", **fields: Any) -> Step:
        """Applies a command of this kind; fields that its body has are the body's, the others the envelope's."""
        shape = BODIES[BODY_OF_KIND[kind]]
        body = shape(**{name: value for name, value in fields.items() if name in shape.__struct_fields__})
        envelope = {name: value for name, value in fields.items() if name not in shape.__struct_fields__}
        default = {"command_id": f"command-{len(self.sent)}", "correlation_id": "", "reply_to": "me"}
        command = Command(
            kind=kind, agent=agent, run_id=RunId(run_id), **{**default, BODY_OF_KIND[kind]: body, **envelope}
        )
        return self.put(command)

    def put(self, command: Command, at: int | None = None) -> Step:
        """Applies the command at the next offset; ``at`` a time of its own, microseconds."""
        step = apply(self.book, command, len(self.sent), 1_000 * len(self.sent) if at is None else at, self.proof)
        self.sent.append(command)
        self.facts += step.facts
        self.replies += [addressed.reply for addressed in step.replies]
        return step

    def again(self, **changes: Any) -> Step:
        """The last command once more."""
        return self.put(msgspec.structs.replace(self.sent[-1], **changes))

    def register(self, name: str, **spec: Any) -> Step:
        """Declares an agent that may do everything, but for what ``spec`` says."""
        everything = {right: ["*"] for right in ("reads", "writes", "capabilities", "publishes")}
        return self.send("RegisterAgent", agent=name, run_id="", name=name, **{**everything, **spec})

    def start(self, complete_when: str = "explicit", **fields: Any) -> Step:
        """Starts the run, by the rules of today unless ``rules`` says otherwise."""
        fields = {"rules": RULES, "workflow": "w", **fields}
        return self.send("StartRun", complete_when=complete_when, **fields)

    def deliver(self, agent: str) -> Any:
        """Sends the agent a message; the delivery's fact."""
        return self.send("SendMessage", name="go", recipient=agent).facts[-1]

    def within(self, delivery: Any, kind: str, number: int | str = 0, **fields: Any) -> Step:
        """What the handler of the delivery sends as its command of this number."""
        name = f"{kind}/{delivery.attempt}" if kind.endswith("Handler") else str(number)
        envelope = {
            "agent": delivery.recipient,
            "run_id": delivery.run_id,
            "delivery_id": delivery.delivery_id,
            "causation_id": delivery.event_id,
            "command_id": ids.derive(delivery.delivery_id, name),
        }
        return self.send(kind, **{**envelope, **fields})

    def complete(self, delivery: Any) -> Step:
        """The handler of the delivery ends well."""
        return self.within(delivery, "CompleteHandler", attempt=delivery.attempt)

    def fail(self, delivery: Any) -> Step:
        """The handler of the delivery raises."""
        error = {"error_type": "ValueError", "error_message": "no"}
        return self.within(delivery, "FailHandler", attempt=delivery.attempt, **error)

    def call(self, **fields: Any) -> str:
        """Asks for a capability; the call's id."""
        return self.send("CallCapability", capability="search", **fields).facts[0].command_id


def kinds(step: Step) -> list[str]:
    """What happened."""
    return [fact.kind for fact in step.facts]


def answer(step: Step) -> Reply:
    """The one reply of a step."""
    (addressed,) = step.replies
    return addressed.reply


def detail(step: Step) -> dict[str, Any]:
    """The detail of the one reply of a step."""
    fields: dict[str, Any] = msgspec.json.decode(answer(step).detail)
    return fields
