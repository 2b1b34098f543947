"""A partition that is put aside: at which record, since when, and what brings it back. Pure.

A record at which workers died again and again is not tried once more. The partition stands still before it, others go
on, and an operator decides about it (``SkipRecord``). The record is then refused like one that is no command.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from agents_sdk.core import ids, kinds
from agents_sdk.core.commands import Command
from agents_sdk.core.facts import RefusalEvent
from agents_sdk.core.identity import OPERATOR, Proof
from agents_sdk.core.ledger import PartitionState, identity, of_no_command, undecodable
from agents_sdk.core.ledger.scribe import Refusal
from backplane.runtime.batch import Record

PUT_ASIDE = "put_aside"
SKIPPED = "skipped"


class Aside(NamedTuple):
    """Where a partition stands still."""

    record: Record
    deaths: int
    since: float
    """Seconds since 1970."""

    @property
    def why(self) -> str:
        """For people."""
        return f"{self.deaths} workers died at the record of offset {self.record.offset}"


def put_aside_fact(partition: int, aside: Aside, applied: int, at: int) -> RefusalEvent:
    """The fact that a partition was put aside. It stands at the last command that was applied: the record at which the
    partition stands is not."""
    name = ids.derive("put aside", f"{partition}/{aside.record.offset}/{at}")
    detail = {"partition": partition, "offset": aside.record.offset, "deaths": aside.deaths}
    return of_no_command(name, applied, at, PUT_ASIDE, f"partition {partition} is put aside: {aside.why}", detail)


def skips(partition: int, aside: Aside, book: PartitionState, command: Command, at: int, proof: Proof) -> bool:
    """Whether the command, which lies after the record, brings the partition back."""
    if command.kind != kinds.SKIP_RECORD or command.skip is None or not command.skip.reason:
        return False
    if (command.skip.partition, command.skip.offset) != (partition, aside.record.offset):
        return False
    try:
        identity.check(book, command, at, proof)
    except Refusal:
        return False
    return command.agent == OPERATOR


def skipped(partition: int, record: Record, at: int, reason: str) -> RefusalEvent:
    """The refusal of the record that is skipped."""
    refusal = undecodable(partition, record.key, record.offset, at, SKIPPED, "skipped by an operator")
    return msgspec.structs.replace(refusal, said=reason, said_by=OPERATOR)
