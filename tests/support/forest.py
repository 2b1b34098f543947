"""Runs in partitions of their own, and the commands on their way between them: for laws about trees of runs.

The partitions are books of their own; what follows from the facts of one for runs of others travels in lines of its
own, one from each partition to each run, in order, and arrives when a test says so.
"""

from __future__ import annotations

from collections import defaultdict, deque
from typing import Any, Final

from agents_sdk.core.commands import BODIES, BODY_OF_KIND, Command
from agents_sdk.core.facts import Fact
from agents_sdk.core.ids import CommandId, RunId
from agents_sdk.core.ledger import PartitionState, apply, issued
from agents_sdk.core.ledger.state import Run
from agents_sdk.core.partition import partition_of

PARTITIONS: Final = 3


class Forest:
    """The books, and what is on its way."""

    def __init__(self) -> None:
        self.books = [PartitionState() for _ in range(PARTITIONS)]
        self.offsets = [0] * PARTITIONS
        self.lines: dict[tuple[int, str], deque[Command]] = defaultdict(deque)
        self.facts: dict[str, list[Any]] = defaultdict(list)
        """Run → its facts."""
        self.sent = 0

    def send(self, command: Command, at: int = 0, partition: int | None = None) -> list[Fact]:
        """Decides a command in its run's partition."""
        if partition is None:
            partition = partition_of(command.run_id, PARTITIONS)
        self.offsets[partition] += 1
        facts = apply(self.books[partition], command, self.offsets[partition], at).facts
        for fact in facts:
            self.facts[fact.run_id].append(fact)
            for other in issued(fact):
                self.lines[partition, other.run_id].append(other)
        return facts

    def command(self, kind: str, run_id: str, *, agent: str = "client", command_id: str = "", **body: Any) -> Command:
        """A command that nobody has sent before, unless it is given an id."""
        self.sent += 1
        name = BODY_OF_KIND[kind]
        fields: dict[str, Any] = {name: BODIES[name](**body)}
        return Command(
            command_id=CommandId(command_id or f"{self.sent}"),
            kind=kind,
            run_id=RunId(run_id),
            agent=agent,
            correlation_id="",
            **fields,
        )

    def say(self, kind: str, run_id: str, **fields: Any) -> list[Fact]:
        """Sends a command of this kind; ``fields`` are those of its body, and ``agent``."""
        return self.send(self.command(kind, run_id, **fields))

    def broadcast(self, kind: str, agent: str, **body: Any) -> None:
        """Sends a command about no run to every partition."""
        for partition in range(PARTITIONS):
            self.send(self.command(kind, "", agent=agent, **body), partition=partition)

    def runs(self) -> dict[str, Run]:
        """Those that live."""
        return {run_id: run for book in self.books for run_id, run in book.runs.items()}

    def waiting(self) -> list[deque[Command]]:
        """The lines in which somebody stands."""
        return [line for line in self.lines.values() if line]

    def arrive(self, line: deque[Command], *, twice: bool = False) -> None:
        """The first of a line arrives; ``twice``: and will once more."""
        self.send(line[0] if twice else line.popleft())

    def settle(self) -> None:
        """All that is on its way arrives, and what follows from it too."""
        while waiting := self.waiting():
            self.arrive(waiting[0])

    def of_kind(self, kind: str) -> list[Any]:
        """Facts of all runs."""
        return [fact for facts in self.facts.values() for fact in facts if fact.kind == kind]
