"""Synthetic facts with the real structs: what a ledger would have written, without deciding it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from agents_sdk.core import ids
from agents_sdk.core.facts import Fact, RunEvent, StateEvent
from agents_sdk.core.partition import partition_of

AT: Final = 1_790_000_000_000_000
ENVELOPE_BYTES: Final = 260
"""Of a state fact as ``written`` makes it, encoded, without its value."""
KEYS_OF_RUN: Final = 10


def written(run_id: str, seq: int, number: int, offset: int, size: int) -> StateEvent:
    """A StateWritten of about ``size`` bytes encoded; ``number`` makes its ids and its version unlike others'."""
    value = '"' + "x" * max(size - ENVELOPE_BYTES - 2, 0) + '"'
    return StateEvent(
        **_envelope("StateWritten", run_id, seq, number, offset),
        key=f"key-{number % KEYS_OF_RUN}",
        version=number // KEYS_OF_RUN + 1,
        value=value,
        size=len(value),
        value_hash=ids.sha256(value),
    )


def run_facts(run_id: str, length: int, offset: int, size: int, *, ended: bool) -> Iterator[Fact]:
    """A run of ``length`` facts: its start, writes, and its end unless it lives on."""
    yield RunEvent(
        **_envelope("RunStarted", run_id, 1, 0, offset), workflow="bench", input="null", complete_when="explicit"
    )
    for seq in range(2, length):
        yield written(run_id, seq, seq - 2, offset, size)
    if ended:
        yield RunEvent(**_envelope("RunCompleted", run_id, length, length, offset), workflow="bench", result="null")


def partition(run_id: str, partitions: int) -> int:
    """Where the facts of a run lie."""
    return partition_of(run_id, partitions)


def _envelope(kind: str, run_id: str, seq: int, number: int, offset: int) -> dict[str, Any]:
    command_id = ids.derive(run_id, f"command/{number}") if number else run_id
    return {
        "event_id": ids.derive(command_id, str(seq)),
        "kind": kind,
        "run_id": run_id,
        "run_seq": seq,
        "correlation_id": run_id,
        "causation_id": "",
        "agent": "bench",
        "at": AT + number,
        "command_id": command_id,
        "command_offset": offset,
    }
