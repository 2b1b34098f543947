"""A run with one delivery, and attempts at it: the SDK's steps with the ledger's core behind them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agents_sdk.artifacts import ArtifactStore
from agents_sdk.context import Context
from agents_sdk.core.commands import Command
from tests.support.core_requests import CoreRequests
from tests.support.ledger_desk import Desk


class Crashed(BaseException):
    """The process is gone."""


class Place:
    """A run with an agent, and attempts at one delivery of it."""

    def __init__(self, folder: Path) -> None:
        self.desk = Desk()
        self.crash_before = ""
        self.requests: Any = CoreRequests(self.desk, self._before, ArtifactStore(folder))
        self.desk.register("writer")
        self.desk.start()
        self.delivery = self.desk.deliver("writer")
        self.made: list[str] = []

    def _before(self, command: Command) -> None:
        if self.crash_before and command.effect is not None and command.effect.mode == self.crash_before:
            self.crash_before = ""
            raise Crashed

    def attempt(self, *, first: bool = False) -> Context:
        """Another handling of the delivery."""
        return Context(self.requests, "writer", self.delivery, first=first)

    def later(self, seconds: float) -> None:
        """Time passes for the ledger."""
        self.desk.sent += self.desk.sent[-1:] * round(seconds * 1_000)

    def facts(self, *kinds: str) -> list[Any]:
        return [fact for fact in self.desk.facts if fact.kind in kinds]

    async def draft(self, topic: str, *, tone: str = "") -> str:
        self.made.append(topic)
        return f"{topic} {tone}".strip()
