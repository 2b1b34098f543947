"""Records of an agent's inbox that cannot be handled, on their way to the dead letters. They go one after the other, by
one producer, however many there are."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from agents_sdk.errors import Oversize, Unreachable
from agents_sdk.inbox import Inbox, InboxRecord
from agents_sdk.proofs import WHY
from agents_sdk.topics import dead_letter, inbox
from agents_sdk.wire.codec import Undecodable
from agents_sdk.wire.dead_letters import DeadLetter, dead_letter_headers

if TYPE_CHECKING:
    from agents_sdk.transport import Transport

log = logging.getLogger("backplane.agents")

KEPT_HEADERS: Final = 100
"""Of a record that becomes a dead letter."""
AGAIN_S: Final = 1.0


class Burial:
    """Of one agent in this process."""

    def __init__(self, agent: str, transport: Transport, of: Inbox, spawn: Callable[[Any], asyncio.Task[None]]) -> None:
        """``spawn`` runs a coroutine that its worker waits for when it closes."""
        self._agent = agent
        self._transport = transport
        self._inbox = of
        self._spawn = spawn
        self._waiting: deque[tuple[InboxRecord, DeadLetter]] = deque()
        self._task: asyncio.Task[None] | None = None

    def put(self, record: InboxRecord, error: Exception, stage: str) -> None:
        """Puts a record in the dead letters, as it is; only then is it finished in the inbox."""
        topic = inbox(self._agent)
        log.error("agent %s: %s[%d]@%d: %s", self._agent, topic, record.partition, record.offset, error)
        why = (error.code, str(error)) if isinstance(error, Undecodable) and error.code in WHY else error
        letter = DeadLetter.of(topic, record.partition, record.offset, self._inbox.group, why, stage=stage)
        self._waiting.append((record, letter))
        if self._task is None or self._task.done():
            self._task = self._spawn(self._run())

    async def _run(self) -> None:
        while self._waiting:
            record, letter = self._waiting[0]
            if self._inbox.ours(record) and not await self._written(record, letter):
                await asyncio.sleep(AGAIN_S)
                continue
            self._waiting.popleft()
            if self._inbox.ours(record):
                self._inbox.finish(record)

    async def _written(self, record: InboxRecord, letter: DeadLetter) -> bool:
        """Whether the letter is done with: written, or one that no broker takes."""
        topic = dead_letter(letter.topic)
        try:
            try:
                headers = dead_letter_headers(letter, record.headers[:KEPT_HEADERS])
                await self._transport.write(topic, record.key, record.value, headers)
            except Oversize:
                where = f"the record is too large for this letter and lies in {letter.topic}[{record.partition}]"
                short = replace(letter, message=f"{letter.message[:1_000]}; {where}@{record.offset}", stacktrace="")
                await self._transport.write(topic, None, None, dead_letter_headers(short))
        except Unreachable as failure:
            log.warning("agent %s: dead letter not written yet: %s", self._agent, failure)
            return False
        except Exception:  # a topic that is gone, a header that cannot be written: it is in the log at least
            log.exception("agent %s: no dead letter for offset %d", self._agent, record.offset)
        return True
