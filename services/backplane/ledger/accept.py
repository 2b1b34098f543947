"""Which command a record of bp.commands is: the one place where the ledger takes in what others wrote."""

from __future__ import annotations

from typing import Final

from agents_sdk.core.commands import Command
from agents_sdk.wire.codec import Codec, Undecodable
from backplane.runtime.batch import Record
from backplane.runtime.records import problem_of

LATEST_MS: Final = 4_102_444_799_999
"""The end of 2099."""


def accepted(codec: Codec, record: Record) -> Command:
    """The command. Raises Undecodable where the record is none."""
    problem = problem_of(record.headers)
    if problem:
        raise Undecodable("undecodable", problem)
    command = codec.decode(record.value)
    if not isinstance(command, Command):
        raise Undecodable("undecodable", f"a {type(command).__name__} is no command")
    return command


def appended_at(record: Record) -> int:
    """When the broker appended it, microseconds UTC; within what a fact may say, whatever a topic's clock is."""
    return min(max(record.timestamp_ms, 0), LATEST_MS) * 1000
