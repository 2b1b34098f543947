"""Commands about no run: sent to every partition, since each has to know who the agents are and which keys count."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Final

from agents_sdk.answers import checked
from agents_sdk.core import ids
from agents_sdk.core.commands import Body, Command
from agents_sdk.core.facts import Reply
from agents_sdk.core.kinds import CommandKind
from agents_sdk.scope import Scope, new_id
from agents_sdk.topics import COMMANDS

if TYPE_CHECKING:
    from agents_sdk.patience import Patience
    from agents_sdk.transport import Transport

TIMEOUT_S: Final = 60.0


def sent_to(command: Command, partitions: int) -> int | None:
    """The partition that ``broadcast`` made the command for; None where it was made otherwise. A copy of it in another
    partition is known by this."""
    named = (n for n in range(partitions) if command.command_id == ids.derive(command.correlation_id, str(n)))
    return next(named, None)


async def broadcast(
    transport: Transport, sender: str, kind: CommandKind, body: Body, *, patience: Patience | None = None
) -> list[Reply]:
    """Sends the same command to every partition and returns what each said; sent again, it changes nothing. With
    ``patience`` it waits for as long as it takes, each partition's command being the same one all the time. Raises
    Refused (a subclass by its code); and Unanswered, Unreachable without patience."""
    cause = new_id()
    scope = Scope(transport, "", sender, correlation_id=cause)
    timeout = TIMEOUT_S if patience is None else None

    async def one(partition: int) -> Reply:
        command = scope.command(kind, body, ids.derive(cause, str(partition)))
        asked = partial(transport.request, command, timeout, partition=partition)
        if patience is None:
            return checked(await asked())
        what = f"no ledger has answered {kind} of {sender!r} yet"
        return checked(await patience.until(lambda: patience.answered(asked(), what)))

    async def counted() -> int:
        return await asyncio.to_thread(transport.partitions, COMMANDS)

    count = await (counted() if patience is None else patience.until(counted))
    return await asyncio.gather(*(one(partition) for partition in range(count)))
