"""Says one thing to every partition: what each must know at its own place in its order."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from agents_sdk.core import ids
from agents_sdk.core.commands import Body
from agents_sdk.core.facts import Reply
from agents_sdk.scope import Scope
from agents_sdk.topics import COMMANDS

if TYPE_CHECKING:
    from agents_sdk.transport import Transport

ANSWER_S: Final = 60.0
"""A partition may be in the middle of a takeover."""


async def broadcast(transport: Transport, scope: Scope, kind: str, body: Body) -> list[Reply]:
    """Sends the command to every partition; their answers, whatever they say. Raises Unanswered, Unreachable."""

    async def one(partition: int) -> Reply:
        command = scope.command(kind, body, ids.derive(scope.correlation_id, str(partition)))
        return await transport.request(command, ANSWER_S, partition=partition)

    count = await asyncio.to_thread(transport.partitions, COMMANDS)
    return await asyncio.gather(*(one(partition) for partition in range(count)))
