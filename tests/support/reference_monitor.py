"""A reference monitor: what a sender may do and may be told, by an oracle that shares no code with the ledger.

It is naive on purpose. It hears the facts as anybody may, keeps lists, and asks of each command, from the beginning,
what its sender declared and was granted. Globs are matched by hand.
"""

# long because: one oracle, read from beginning to end

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, Final

from agents_sdk.core.commands import Command
from agents_sdk.core.facts import Fact

RIGHTS: Final = (
    *("subscriptions", "workflows", "reads", "writes", "capabilities", "publishes"),
    *("starts", "controls", "supervisors"),
)
STATE_KINDS: Final = ("SetState", "GetState", "GetStates", "DeleteState", "ListState", "GetHistory")


def glob(pattern: str, name: str) -> bool:
    """Whether the pattern, of letters and stars, matches the name."""
    if not pattern:
        return not name
    if pattern[0] == "*":
        return any(glob(pattern[1:], name[at:]) for at in range(len(name) + 1))
    return bool(name) and pattern[0] == name[0] and glob(pattern[1:], name[1:])


@dataclass
class Person:
    """A name, as the facts tell of it."""

    declared: dict[str, list[str]] | None = None
    granted: dict[str, list[str]] | None = None
    client: bool = False


@dataclass
class Life:
    """A run or a memory."""

    workflow: str
    starter: str
    ended: bool = False
    deliveries: dict[str, str] = field(default_factory=dict)
    """Open ones → recipient."""
    events: dict[str, str] = field(default_factory=dict)
    """Event of an attempt → delivery, open ones."""
    settled: set[str] = field(default_factory=set)
    children: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Child → starter and workflow."""
    asked: dict[str, str] = field(default_factory=dict)
    """Command whose answer is remembered, or comes later → sender."""
    requests: dict[str, str] = field(default_factory=dict)
    calls: dict[str, str] = field(default_factory=dict)
    given: set[tuple[str, str]] = field(default_factory=set)
    """Agent and hash that it was given."""
    written: set[tuple[str, str]] = field(default_factory=set)
    """State key and hash that a value of it names."""
    dead: dict[str, str] = field(default_factory=dict)
    """Dead letter → its agent."""
    failed: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    """Failed call → caller, capability, params."""


class Monitor:
    """Says whether a sender may send a command: True, False, or None where it is about nothing that is there."""

    def __init__(self) -> None:
        self.people: dict[str, Person] = {}
        self.runs: dict[str, Life] = {}

    # what it hears

    def hear(self, fact: Fact) -> None:
        """Keeps what a fact says."""
        told: Any = fact
        if fact.kind == "AgentRegistered":
            person = self.people.setdefault(told.name, Person())
            person.declared = {right: list(getattr(told, right, ())) for right in RIGHTS if right != "supervisors"}
            person.declared["supervisors"] = [told.supervisor] if told.supervisor else []
            person.declared["workflows"] = person.declared["workflows"] or ["*"]
            person.declared["starts"] = person.declared["starts"] or ["*"]
            person.declared["controls"] = person.declared["controls"] or person.declared["workflows"]
        elif fact.kind == "RightsGranted":
            person = self.people.setdefault(told.name, Person())
            person.granted = {right: list(getattr(told, right)) for right in (*RIGHTS, "contracts")}
            person.client = told.client
        elif fact.kind == "AgentRemoved":
            self.people[told.name].declared = None
        elif fact.kind == "RunStarted":
            self.runs[fact.run_id] = Life(told.workflow, told.started_by or fact.agent)
        elif fact.run_seq:
            self._hear_in(self.runs.setdefault(fact.run_id, Life("", "")), told)
        if fact.run_seq:
            self.runs[fact.run_id].asked.setdefault(fact.command_id, fact.agent)

    def _hear_in(self, life: Life, told: Any) -> None:
        kind = told.kind
        if kind == "MessageDelivered":
            life.deliveries[told.delivery_id] = told.recipient
            life.events[told.event_id] = told.delivery_id
            life.given |= {(told.recipient, sha) for sha in hashes(told.data)}
        elif kind in ("HandlerCompleted", "MessageDeadLettered", "DeliveryCancelled"):
            if kind == "MessageDeadLettered":
                life.dead[told.delivery_id] = told.recipient
            life.deliveries.pop(told.delivery_id, None)
            life.settled.add(told.delivery_id)
            life.events = {event: one for event, one in life.events.items() if one != told.delivery_id}
        elif kind == "RequestSent":
            life.requests[told.request_id] = told.sender
        elif kind == "RequestAnswered":
            life.given |= {(life.requests[told.request_id], sha) for sha in hashes(told.result)}
        elif kind == "CallRequested":
            life.calls[told.call_id] = told.agent
        elif kind == "CallCompleted" and not told.local:
            life.given |= {(life.calls[told.call_id], sha) for sha in hashes(told.result)}
        elif kind == "CallFailed" and told.report:
            life.failed[told.call_id] = (life.calls[told.call_id], told.capability, told.params)
        elif kind in ("CallRedriven", "CallDiscarded"):
            life.failed.pop(told.call_id, None)
        elif kind in ("MessageRedriven", "MessageDiscarded"):
            life.dead.pop(told.delivery_id, None)
        elif kind == "ChildStarted":
            life.children[told.child_run_id] = (told.agent, told.workflow)
        elif kind == "ChildEnded":
            life.given |= {(life.children[told.child_run_id][0], sha) for sha in hashes(told.result)}
        elif kind == "StateWritten":
            life.written |= {(told.key, sha) for sha in hashes(told.value)}
        elif kind in ("RunCompleted", "RunFailed", "RunCancelled"):
            life.ended = True

    # what it says

    def can(self, name: str, right: str, what: str) -> bool:
        """Whether the name declares the right, if it is an agent, and was granted it."""
        person = self.people.get(name, Person())
        declared = person.declared
        asked = declared is None or any(glob(one, what) for one in declared.get(right, ()))
        return asked and person.granted is not None and any(glob(one, what) for one in person.granted[right])

    def stands(self, name: str) -> bool:
        """Whether the name may say anything."""
        person = self.people.get(name, Person())
        return person.granted is not None and (person.client or person.declared is not None)

    def allows(self, command: Command) -> bool | None:
        """Whether the sender may send the command."""
        name, kind = command.agent, command.kind
        if kind == "RegisterAgent":
            return command.registration is not None and command.registration.name == name
        if not self.stands(name):
            return False
        if kind in (
            "IssueKey",
            "RevokeKey",
            "RequireIdentity",
            "GrantRights",
            "RequireGrants",
            "RemoveAgent",
            "SkipRecord",
        ):
            return False
        if kind in ("OpenBreaker", "ProbeBreaker", "CloseBreaker"):
            return False
        if kind in ("ApplyContract", "RemoveContract"):
            assert command.contract is not None
            return self.people[name].declared is None and self.can(name, "contracts", command.contract.pattern)
        life = self.runs.get(command.run_id)
        sender = life.asked.get(command.command_id) if life is not None else None
        if sender not in (None, name) and life is not None and life.ended:
            return None  # an ended run remembers few of its commands
        if sender is not None and sender != name:
            return False
        if command.run_id.startswith("memory/"):
            if kind not in STATE_KINDS:
                return None
            return self._state(command, life or Life("", ""))
        if kind == "StartRun":
            return self._start(command) if life is None else None
        if kind in ("Discard", "DiscardCall") and (life is None or life.ended):
            return self.can(name, "controls", life.workflow if life is not None else "")
        if life is None:
            return None
        if sender is not None:
            return None  # its own command once more
        if life.ended:
            return None if kind == "CompleteHandler" or self._joins(name, life.workflow, life.starter) else False
        return self._in_run(command, life)

    def _start(self, command: Command) -> bool:
        body = command.run
        assert body is not None
        if not self._own_word(command):
            return False
        if body.resumed_from and self.people[command.agent].declared is not None:
            return False
        goes_on = body.resumed_from or body.completed or body.published
        if goes_on and not self.can(command.agent, "controls", body.workflow):
            return False
        mine = self.can(command.agent, "starts", body.workflow)
        return mine and all(self.can(command.agent, "reads", f"artifacts/{sha}") for sha in hashes(body.input))

    def _joins(self, name: str, workflow: str, starter: str) -> bool:
        return starter == name or self.can(name, "workflows", workflow) or self.can(name, "controls", workflow)

    def _in_run(self, command: Command, life: Life) -> bool | None:
        name, kind = command.agent, command.kind
        for delivery in (command.delivery_id, life.events.get(command.causation_id, "")):
            if delivery in life.deliveries and life.deliveries[delivery] != name:
                return False
        if command.delivery_id in life.settled:
            return None
        if kind in ("StartHandler", "CompleteHandler", "FailHandler"):
            return None if command.delivery_id not in life.deliveries else True
        if kind in ("StartAttempt", "RecordAttempt", "CompleteCall", "FailCall", "TimerFired", "ReportChild"):
            return None  # the platform's own, or about a local call: told by test_roles
        if kind in ("CompleteRun", "FailRun", "CancelRun"):
            return self._ends(command, life)
        if kind in ("RestoreState", "Resend", "ResumeRun"):
            return None if self._resumes(command, life) else False
        if kind == "AwaitRun":
            return self._own_word(command) and self._joins(name, life.workflow, life.starter)
        if kind in ("Discard", "DiscardCall"):
            return self._discards(command, life)
        if kind in ("Redrive", "RedriveCall"):
            return self._redrives(command, life)
        if kind == "WithdrawRequest":
            return None  # told by test_roles
        here = self.can(name, "workflows", life.workflow) or life.deliveries.get(command.delivery_id) == name
        return here and self._body(command, life)

    def _ends(self, command: Command, life: Life) -> bool:
        body = command.run
        assert body is not None
        if not self._own_word(command):
            return False
        if not self.can(command.agent, "controls", life.workflow):
            return False
        return command.kind != "CompleteRun" or self._names(command.agent, life, command.run_id, body.result)

    def _redrives(self, command: Command, life: Life) -> bool | None:
        name = command.agent
        if command.message is not None:
            failed = life.dead.get(command.message.dead_delivery_id)
            if failed is None:
                return None
            return self._supervises(name, failed) or self.can(name, "controls", life.workflow)
        assert command.call is not None
        call = life.failed.get(command.call.dead_call_id)
        if call is None:
            return None
        caller, capability, params = call
        first = self._supervises(name, caller) or self.can(name, "controls", life.workflow)
        names = self._names(name, life, command.run_id, params, bare=True)
        return first and self.can(name, "capabilities", capability) and names

    def _discards(self, command: Command, life: Life) -> bool | None:
        if command.message is not None:
            failed = life.dead.get(command.message.dead_delivery_id)
        else:
            assert command.call is not None
            failed = life.failed.get(command.call.dead_call_id, (None,))[0]
        if failed is None:
            return None
        return self._supervises(command.agent, failed) or self.can(command.agent, "controls", life.workflow)

    def _resumes(self, command: Command, life: Life) -> bool:
        name = command.agent
        if self.people[name].declared is not None or not self.can(name, "controls", life.workflow):
            return False
        if command.state is not None:
            may = self.can(name, "writes", command.state.key)
            return may and self._names(name, life, command.run_id, command.state.value)
        if command.message is not None:
            said = command.message
            here = self.people.get(said.recipient, Person()).declared is None or self.can(
                said.recipient, "workflows", life.workflow
            )
            return (
                here and self.can(name, "publishes", said.name) and self._names(name, life, command.run_id, said.data)
            )
        return self._own_word(command)

    @staticmethod
    def _own_word(command: Command) -> bool:
        """Whether a run's body says nothing that only the platform says."""
        body = command.run
        assert body is not None
        said = body.parent_run_id or body.root_run_id or body.status or body.state_hash or body.started_by
        said = said or body.code or body.said or body.said_by
        return not (said or body.deadline_at or body.spent_nano_usd)

    def _supervises(self, name: str, agent: str) -> bool:
        declared = self.people.get(agent, Person()).declared or {}
        return declared.get("supervisors") == [name] and self.can(agent, "supervisors", name)

    def _body(self, command: Command, life: Life) -> bool | None:
        name, kind = command.agent, command.kind
        if kind in STATE_KINDS:
            return self._state(command, life)
        if command.message is not None and kind in ("Publish", "SendMessage", "Ask"):
            said = command.message
            if kind != "Publish" and self.people.get(said.recipient, Person()).declared is None:
                return None
            if kind != "Publish" and not self.can(said.recipient, "workflows", life.workflow):
                return False
            may = self.can(name, "publishes", said.name)
            return may and self._names(name, life, command.run_id, said.data)
        if command.dependency is not None and kind == "DeclareDependency":
            return self._waits(command, life)
        if command.decision is not None and kind == "RecordDecision":
            used = [
                one.rpartition("@")[0] if re.search(r"@\d+$", one) else one for one in command.decision.context_used
            ]
            return all(self.can(name, "reads", one) for one in used)
        if command.call is not None and kind == "CallCapability":
            call = command.call
            mine = life.failed.get(call.dead_call_id, ("",))[0] == name
            again = not (call.dead_call_id or call.redrives) or mine or self.can(name, "controls", life.workflow)
            files = self._names(name, life, command.run_id, call.params, bare=True)
            files = files and self._names(name, life, command.run_id, call.config, bare=True)
            return again and files and self.can(name, "capabilities", call.capability)
        if command.run is not None and kind in ("StartChild", "AwaitChild", "CancelChild"):
            return self._child(command, life)
        return None

    def _child(self, command: Command, life: Life) -> bool | None:
        name, body = command.agent, command.run
        assert body is not None
        if not self._own_word(command):
            return False
        if command.kind == "StartChild":
            may = self.can(name, "starts", body.workflow)
            return may and self._names(name, life, command.run_id, body.input)
        child = life.children.get(body.child_run_id)
        if child is None:
            return None
        starter, workflow = child
        if command.kind == "CancelChild":
            return starter == name or self.can(name, "controls", workflow)
        return self._joins(name, workflow, starter)

    def _waits(self, command: Command, life: Life) -> bool | None:
        name, body = command.agent, command.dependency
        assert body is not None
        if self.people.get(body.downstream, Person()).declared is None:
            return None
        said = body.name or "dependency.satisfied"
        if not self.can(body.downstream, "workflows", life.workflow):
            return False
        if (body.downstream != name or body.name not in ("", "dependency.satisfied")) and not self.can(
            name, "publishes", said
        ):
            return False
        for term in body.depends_on:
            if term.startswith("state:") and not self.can(name, "reads", term[6:]):
                return False
            event = term[6:] if term.startswith("event:") else ""
            if event and not (self.can(name, "publishes", event) or self.can(name, "subscriptions", event)):
                return False
        return True

    def _state(self, command: Command, life: Life) -> bool:
        body = command.state
        assert body is not None
        name, prefix = command.agent, f"{command.run_id}/" if command.run_id.startswith("memory/") else ""
        if command.kind == "ListState":
            return True
        if command.kind == "GetStates":
            return all(self.can(name, "reads", prefix + key) for key in body.keys)
        writes = command.kind in ("SetState", "DeleteState")
        if not self.can(name, "writes" if writes else "reads", prefix + body.key):
            return False
        return command.kind != "SetState" or self._names(name, life, command.run_id, body.value, own=body.key)

    def _names(self, name: str, life: Life, run_id: str, payload: str, *, bare: bool = False, own: str = "") -> bool:
        """Whether the name may refer to every file that the payload names."""
        prefix = f"{run_id}/" if run_id.startswith("memory/") else ""
        for sha in hashes(payload, bare=bare):
            given = (name, sha) in life.given
            read = any(one == sha and self.can(name, "reads", prefix + key) for key, one in life.written)
            if own != f"artifacts/{sha}" and not (given or read or self.can(name, "reads", f"{prefix}artifacts/{sha}")):
                return False
        return True


def hashes(payload: str, *, bare: bool = False) -> set[str]:
    """The files that a JSON text names, in any of its strings."""
    try:
        value = json.loads(payload) if payload else None
    except ValueError:
        return set()
    found: set[str] = set()

    def look(part: Any) -> None:
        if isinstance(part, str):
            found.update(re.findall(r"artifact:([0-9a-f]{64})(?![0-9a-f])", part))
            if bare:
                found.update(re.findall(r"(?<![0-9a-f])([0-9a-f]{64})(?![0-9a-f])", part))
        elif isinstance(part, dict):
            for key, inner in part.items():
                look(key)
                look(inner)
        elif isinstance(part, list):
            for inner in part:
                look(inner)

    look(value)
    return found
