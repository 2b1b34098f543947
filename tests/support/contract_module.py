"""Contracts as an author declares them; applied by tests of the command line."""

from __future__ import annotations

import os

from pydantic import BaseModel

from agents_sdk import MessageContract, StateContract

OWN = os.environ.get("TEST_CONTRACTS", "tc")
"""A prefix of the test's own: the platform is shared."""


class Findings(BaseModel):
    sources: list[str]
    units: int = 0


class Found(BaseModel):
    count: int


FINDINGS = StateContract(f"{OWN}/findings", Findings)
MORE = [
    StateContract(f"{OWN}/log*", list[str], reducer="append"),
    StateContract(f"{OWN}/count", int, reducer="counter"),
]
FOUND = MessageContract(f"{OWN}.found", Found)
