"""A desk at a platform where commands are signed and rights are granted: whoever sends holds the key of its name."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from agents_sdk.core.commands import Command
from agents_sdk.core.facts import RefusalEvent
from agents_sdk.core.identity import OPERATOR, Proof
from agents_sdk.core.ledger import Step, apply, identity, rights
from agents_sdk.core.ledger.rules import RIGHTS
from agents_sdk.core.replay import LoggedCommand
from tests.support.ledger_desk import Desk

NOW: Final = 1_767_261_600_000_000
ALL: Final[dict[str, list[str]]] = {right: ["*"] for right in RIGHTS}
"""Every right of an agent."""


class RightsDesk(Desk):
    """``client`` is a client with all rights; agents are registered with what they are granted."""

    def __init__(self, policy: str = "first") -> None:
        super().__init__()
        self.proof = Proof.GOOD
        self.now = NOW
        self.generation = 1
        self.logged: list[LoggedCommand] = []
        self.put(identity.required(0))
        self.put(rights.required(0, policy))
        self.grant("client", client=True, contracts=["*"], **ALL)

    def put(self, command: Command, at: int | None = None) -> Step:
        """Signed now, by the generation in use, unless the command says otherwise."""
        self.now += 1
        if not command.issued_at:
            number = 0 if command.agent.startswith("bp.") else self.generation
            command = msgspec.structs.replace(command, issued_at=self.now, key_generation=number)
        self.logged.append(LoggedCommand(len(self.sent), self.now, command, self.proof))
        step = apply(self.book, command, len(self.sent), self.now, self.proof)
        self.sent.append(command)
        self.facts += step.facts
        self.replies += [addressed.reply for addressed in step.replies]
        return step

    def grant(self, name: str, **granted: Any) -> Step:
        """What an operator grants."""
        return self.send("GrantRights", agent=OPERATOR, run_id="", name=name, **granted)

    def agent(self, name: str, **granted: Any) -> Step:
        """Grants the name these rights, nothing else, and registers it with a declaration that asks for all."""
        self.grant(name, **granted)
        return self.register(name, subscriptions=["*"])


def code(step: Step) -> str:
    """Of the one refusal that the step is; empty where it is none."""
    first = step.facts[0] if step.facts else None
    return first.code if isinstance(first, RefusalEvent) else ""


def rule(step: Step) -> str:
    """The rule that the refusal names."""
    (fact,) = step.facts
    assert isinstance(fact, RefusalEvent), fact.kind
    return str(msgspec.json.decode(fact.detail or "{}").get("rule", fact.code))
