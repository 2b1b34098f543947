"""The SDK's side of the transport with the ledger's core behind it, for tests without servers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from agents_sdk.artifacts import ArtifactStore
from agents_sdk.core.commands import Command
from agents_sdk.core.facts import Reply
from tests.support.ledger_desk import Desk


class CoreRequests:
    """Answers commands as a ledger would that has one partition and nothing else to do."""

    client_id = "client-1"
    reply_partition = 0
    max_value_bytes = 1_048_576

    def __init__(
        self, desk: Desk, before: Callable[[Command], None] | None = None, artifacts: ArtifactStore | None = None
    ) -> None:
        """``before`` is called before each command is decided: what others do in between."""
        self._artifacts = artifacts
        self.desk = desk
        self._before = before
        self.sent: list[Command] = []

    @property
    def artifacts(self) -> ArtifactStore:
        """Where files are kept, in tests that give a store."""
        assert self._artifacts is not None, "this test has no store"
        return self._artifacts

    async def request(self, command: Command, timeout: float | None) -> Reply:
        """Decides the command; others that wait have their turn first."""
        await asyncio.sleep(0)
        self.sent.append(command)
        if self._before is not None:
            self._before(command)
        return self.desk.put(command).replies[0].reply

    def send(self, command: Command) -> None:
        """Decides the command at once."""
        self.sent.append(command)
        self.desk.put(command)
