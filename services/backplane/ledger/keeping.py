"""When one partition's snapshots are taken: captured while nothing is on its way, written by a task of their own."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final

from confluent_kafka import KafkaException

from agents_sdk.core.ids import RunId
from agents_sdk.core.ledger import PartitionState
from backplane.ledger.debt import Debt, due, inherited
from backplane.ledger.pieces import Changes
from backplane.ledger.snapshots import Snapshots

log = logging.getLogger("backplane.ledger")

PUT_OFF_S: Final = 5.0
"""After a snapshot that could not be taken."""


class SnapshotBuilder:
    """Contents of the next snapshot, and whether it is due."""

    def __init__(self, partition: int, snapshots: Snapshots, drained: Callable[[], Awaitable[None]]) -> None:
        """``drained`` returns when all that was decided is committed."""
        self._partition = partition
        self._snapshots = snapshots
        self._drained = drained
        self.dirty: dict[RunId, int] = {}
        """Runs touched since the last snapshot → the command that touched them last."""
        self._debt = Debt()
        self._writing: asyncio.Task[None] | None = None
        self._not_before = 0.0
        """When a snapshot may be tried again."""

    def folded(self, facts: int) -> None:
        """The partition was taken over by folding so many facts."""
        self._debt = inherited(facts, time.monotonic())

    def more(self, facts: int) -> None:
        """Facts were decided."""
        self._debt = self._debt.more(facts, time.monotonic())

    async def take_if_due(self, book: PartitionState, between: int) -> None:
        """Encodes what changed while nothing is on its way, and leaves the writing to a task. Nobody may change the
        book meanwhile. Raises what ``drained`` raises."""
        idle = self._writing is None or self._writing.done()
        if not idle or time.monotonic() < self._not_before or not due(self._debt, time.monotonic(), between):
            return
        try:
            offsets = await asyncio.to_thread(self._snapshots.ends, self._partition)
        except KafkaException as error:
            # the broker is away: a snapshot can wait, and commands that were decided are with the committer
            log.warning("partition %d: no snapshot now: %s", self._partition, error)
            self._not_before = time.monotonic() + PUT_OFF_S
            return
        await self._drained()
        dirty, debt = self.dirty, self._debt
        self.dirty, self._debt = {}, Debt()
        try:
            changes = self._snapshots.capture(self._partition, book, dirty, offsets)
        except Exception:  # a run that cannot be written down: the facts have it all
            log.exception("partition %d: no snapshot can be made", self._partition)
            self._failed(dirty, debt)
            return
        self._writing = asyncio.create_task(self._write(changes, dirty, debt))

    async def _write(self, changes: Changes, dirty: dict[RunId, int], debt: Debt) -> None:
        try:
            await self._snapshots.write(self._partition, changes)
        except Exception:
            log.exception("partition %d: snapshot not written", self._partition)
            self._failed(dirty, debt)

    def _failed(self, dirty: dict[RunId, int], debt: Debt) -> None:
        """The next one has to have these runs as well, or it would be believed without them."""
        self.dirty = {**dirty, **self.dirty}
        self._debt = self._debt.joined(debt)
        self._not_before = time.monotonic() + PUT_OFF_S
