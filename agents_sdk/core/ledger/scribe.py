"""Writes the facts of one command: stamps each with its id and its place in the run.

A fact's id derives from its command's id and its place: run and run_seq, or the command's offset where no run lives.
So deciding the command again gives the same facts byte for byte. A command that comes twice (a caller that asks again,
a zombie that is refused) never gives two facts one id.
"""

from __future__ import annotations

from typing import Any, TypeVar

from agents_sdk.core import ids
from agents_sdk.core.commands import Command
from agents_sdk.core.facts import Fact
from agents_sdk.core.ids import CallId, CommandId, DeliveryId, RunId
from agents_sdk.core.kinds import FactKind

F = TypeVar("F", bound=Fact)


class FactBuilder:
    """Collects ``facts`` for one command; ``seq`` is the last sequence number of its run, None for no run."""

    __slots__ = (
        *("_command", "_offset", "at", "facts", "fingerprint", "marks", "parent_run_id", "root_run_id", "rules"),
        "seq",
    )

    def __init__(self, command: Command, offset: int, at: int, seq: int | None) -> None:
        self._command = command
        self._offset = offset
        self.at = at
        """Append time of the command, microseconds UTC."""
        self.seq = seq
        self.facts: list[Fact] = []
        self.marks = False
        """Whether deliveries say whose doing they are."""
        self.fingerprint = ""
        """Of the command, which its first fact keeps; empty for one that has none."""
        self.rules = 0
        """Version of the rules that decide the run, from the fourth on: deliveries say it."""
        self.parent_run_id = RunId("")
        self.root_run_id = RunId("")
        """Where the run of the command stands in its tree; both empty where the command is about no run."""

    @property
    def delivery_id(self) -> DeliveryId:
        """The delivery whose handler sent the command; empty outside a handler."""
        return self._command.delivery_id

    @property
    def agent(self) -> str:
        """The sender of the command."""
        return self._command.agent

    def next_event_id(self) -> str:
        """The id that the next fact will have."""
        return self._event_id(self._next_seq())

    def _event_id(self, seq: int) -> str:
        command, further = self._command, len(self.facts)
        place = f"{command.run_id}/{seq}" if seq else f"{command.run_id}@{self._offset}"
        if not seq and further:
            place = f"{place}/{further}"  # a declaration and the grant that it brings, say
        return ids.derive(command.command_id, place)

    def _next_seq(self) -> int:
        return 0 if self.seq is None else self.seq + len(self.facts) + 1

    def write(
        self,
        record: type[F],
        kind: FactKind,
        *,
        delivery_id: DeliveryId | None = None,
        call_id: CallId | None = None,
        request_id: CommandId | None = None,
        child_run_id: RunId | None = None,
        **fields: Any,
    ) -> F:
        """Appends the next fact of the command and returns it. The ids are named, so that each is of its type."""
        if delivery_id is not None:
            fields["delivery_id"] = delivery_id
        if call_id is not None:
            fields["call_id"] = call_id
        if request_id is not None:
            fields["request_id"] = request_id
        if child_run_id is not None:
            fields["child_run_id"] = child_run_id
        command, seq = self._command, self._next_seq()
        if self.fingerprint and not self.facts:
            fields["fingerprint"] = self.fingerprint
        fact = record(
            event_id=self._event_id(seq),
            kind=kind,
            run_id=command.run_id,
            run_seq=seq,
            correlation_id=command.correlation_id,
            causation_id=command.causation_id,
            agent=command.agent,
            at=self.at,
            command_id=command.command_id,
            command_offset=self._offset,
            parent_run_id=self.parent_run_id,
            root_run_id=self.root_run_id,
            **fields,
        )
        self.facts.append(fact)
        return fact


TEXT_LIMIT = 2_000
"""Characters of a message for people kept in a fact: enough for the cause, too few for a dump of user data."""


class Refusal(Exception):
    """Raised by a decider: the command is refused, and nothing it wrote before counts."""

    def __init__(self, code: str, message: str, **detail: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.detail = detail
