"""Deciding a run again from its recorded commands, and comparing. Pure: the log comes in, a verdict comes out.

Law: a run whose facts were written by this core compares identical. Changing any recorded fact, leaving one out or
adding one is found, and the first difference is named.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from agents_sdk.core import kinds
from agents_sdk.core.commands import Command
from agents_sdk.core.facts import AgentEvent, ContractEvent, Fact, RefusalEvent
from agents_sdk.core.identity import Proof
from agents_sdk.core.ids import RunId
from agents_sdk.core.ledger import INTERNAL_ERROR, Limits, PartitionState, apply, evolve, state_hash
from agents_sdk.core.ledger.evolve import Gap

Declared: TypeAlias = AgentEvent | ContractEvent
"""A fact about no run that decides about runs."""
PROOF_OF_CODE: Final = {
    "unauthenticated": Proof.UNSIGNED,
    "forged": Proof.FORGED,
    "misplaced": Proof.MISPLACED,
}


class LoggedCommand(msgspec.Struct, frozen=True):
    """A command as it lies in bp.commands."""

    offset: int
    at: int
    """Append time, microseconds UTC."""
    command: Command
    proof: Proof | None = None
    """The proof of its signature; None: not checked, since that takes the master key, but taken from the record."""


class Difference(msgspec.Struct, frozen=True):
    """Where the decision of today first departs from the record; a side is None where it has no fact."""

    run_seq: int
    command_offset: int
    fields: dict[str, tuple[Any, Any]]
    """Field → (recorded, decided again)."""
    recorded: str | None
    """Kind of the recorded fact."""
    decided: str | None
    """Kind of the fact decided again."""


class Verdict(msgspec.Struct, frozen=True):
    """The findings of a replay."""

    commands: int
    facts: int
    """Facts compared."""
    recorded_state_hash: str
    """Over the state that the recorded facts fold to."""
    replayed_state_hash: str
    """Over the state that deciding again leads to."""
    difference: Difference | None

    @property
    def identical(self) -> bool:
        """Every fact is the same, and so is the state."""
        return self.difference is None and self.recorded_state_hash == self.replayed_state_hash


def replay(
    run_id: RunId,
    commands: Iterable[LoggedCommand],
    declared: Iterable[Declared],
    recorded: Sequence[Fact],
    limits: Limits,
) -> Verdict:
    """Decides ``commands`` again, in order, among the agents, keys and contracts that were ``declared`` in the run's
    partition. It compares the facts with those ``recorded`` of the run."""
    known = _Recorded(recorded_proofs(recorded), recorded_failures(recorded))
    decided, replayed_hash, count = _decide_again(run_id, commands, declared, limits, known)
    ordered = sorted(recorded, key=_order)
    return Verdict(
        commands=count,
        facts=len(ordered),
        recorded_state_hash=_folded_hash(run_id, ordered, limits),
        replayed_state_hash=replayed_hash,
        difference=_first_difference(ordered, decided),
    )


def recorded_proofs(facts: Iterable[Fact]) -> dict[int, Proof]:
    """Offset of a command → what the record says its signature proved, where that is not good."""
    return {
        fact.command_offset: PROOF_OF_CODE[fact.code]
        for fact in facts
        if isinstance(fact, RefusalEvent) and fact.code in PROOF_OF_CODE
    }


def recorded_failures(facts: Iterable[Fact]) -> dict[int, RefusalEvent]:
    """Offset of a command → the record's refusal of it, where the ledger failed at it. The failures of the code of then
    are part of the record, as are signatures: the code of today may be mended."""
    return {
        fact.command_offset: fact for fact in facts if isinstance(fact, RefusalEvent) and fact.code == INTERNAL_ERROR
    }


class _Recorded(NamedTuple):
    """Refusals taken from the record and not decided again."""

    proofs: dict[int, Proof]
    failures: dict[int, RefusalEvent]


def _order(fact: Fact) -> tuple[int, int]:
    return fact.command_offset, fact.run_seq


def _decide_again(
    run_id: RunId, commands: Iterable[LoggedCommand], declared: Iterable[Declared], limits: Limits, known: _Recorded
) -> tuple[list[Fact], str, int]:
    book = PartitionState(limits=limits)
    waiting: list[Declared] = sorted(declared, key=_order, reverse=True)
    decided: list[Fact] = []
    final = ""
    count = 0
    for logged in sorted(commands, key=lambda logged: logged.offset):
        while waiting and waiting[-1].command_offset < logged.offset:
            evolve(book, waiting.pop())
        run = book.runs.get(run_id)
        proof = logged.proof if logged.proof is not None else known.proofs.get(logged.offset, Proof.GOOD)
        failed = known.failures.get(logged.offset)
        facts = apply(book, logged.command, logged.offset, logged.at, proof, failed=failed).facts
        decided += facts
        count += 1
        if run is not None and any(fact.kind in kinds.RUN_ENDS for fact in facts):
            final = state_hash(run)  # the run has left the book; no fact that ends a run changes its state
    run = book.runs.get(run_id)
    return decided, state_hash(run) if run is not None else final, count


def _folded_hash(run_id: RunId, facts: Iterable[Fact], limits: Limits) -> str:
    book = PartitionState(limits=limits)
    for fact in facts:
        if fact.kind in kinds.RUN_ENDS:
            break
        try:
            evolve(book, fact)
        except (Gap, KeyError):
            return ""  # the record does not fold; the comparison of the facts names where
    run = book.runs.get(run_id)
    return state_hash(run) if run is not None else ""


def _same_failure(recorded: Fact, decided: Fact) -> bool:
    """Whether both are the refusal of a command that the ledger failed at: the text may differ from code to code."""
    return (
        isinstance(recorded, RefusalEvent)
        and isinstance(decided, RefusalEvent)
        and recorded.code == decided.code == INTERNAL_ERROR
        and msgspec.structs.replace(recorded, message=decided.message) == decided
    )


def _first_difference(recorded: Sequence[Fact], decided: Sequence[Fact]) -> Difference | None:
    for index in range(max(len(recorded), len(decided))):
        was = recorded[index] if index < len(recorded) else None
        now = decided[index] if index < len(decided) else None
        if was == now or (was is not None and now is not None and _same_failure(was, now)):
            continue
        known = was or now
        assert known is not None
        old = msgspec.to_builtins(was) if was else {}
        new = msgspec.to_builtins(now) if now else {}
        return Difference(
            run_seq=known.run_seq,
            command_offset=known.command_offset,
            fields={
                name: (old.get(name), new.get(name))
                for name in {**old, **new}
                if was and now and old.get(name) != new.get(name)
            },
            recorded=was.kind if was else None,
            decided=now.kind if now else None,
        )
    return None
