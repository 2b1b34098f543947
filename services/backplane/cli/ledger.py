"""``backplane ledger skip``: what becomes of a record at which the ledger's workers died."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Final

import typer

from agents_sdk.core import kinds
from backplane.cli.output import CommandError, DataDir, message

if TYPE_CHECKING:
    from agents_sdk.core.commands import SkipBody
    from agents_sdk.settings import Settings

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Bring a partition back that was put aside.")

TIMEOUT_S: Final = 60.0


@app.callback()
def group() -> None:
    """Bring a partition back that was put aside."""


@app.command()
def skip(
    partition: Annotated[int, typer.Argument(min=0, help="Of bp.commands; `backplane status` says which.")],
    offset: Annotated[int, typer.Argument(min=0, help="Of the record at which the workers died.")],
    reason: Annotated[str, typer.Option(help="Why; it is kept with the refusal.")],
    data_dir: DataDir = None,
) -> None:
    """Refuse the record that a partition was put aside for; the partition goes on after it.

    The record becomes a refusal and a dead letter in dlq.bp.commands, so it can be looked at and put back.
    """
    from agents_sdk.core.commands import SkipBody
    from agents_sdk.settings import load_settings
    from backplane.platform.layout import Layout
    from backplane.platform.status import read

    settings: Settings = load_settings(**({"data_dir": data_dir} if data_dir else {}))
    found = read(Layout(settings.data_dir))
    if any(part["part"].startswith("ledger") for part in found["parts"]):
        _check(found["aside"], partition, offset)
    asyncio.run(_sent(settings, SkipBody(partition=partition, offset=offset, reason=reason)))
    message(f"ledger: offset {offset} of partition {partition} is refused, and the partition goes on")


def _check(aside: dict[str, dict[str, object]], partition: int, offset: int) -> None:
    """Raises CommandError where the local platform says that the partition does not stand there."""
    place = aside.get(str(partition))
    if place is not None and place["offset"] == offset:
        return
    those = ", ".join(f"partition {number} at offset {one['offset']}" for number, one in aside.items()) or "none"
    raise CommandError(
        "not_found", f"partition {partition} is not put aside at offset {offset}", f"put aside now: {those}"
    )


async def _sent(settings: Settings, body: SkipBody) -> None:
    from agents_sdk.answers import checked
    from agents_sdk.core.identity import OPERATOR
    from agents_sdk.scope import Scope, new_id
    from agents_sdk.topics import COMMANDS
    from agents_sdk.transport import Transport
    from agents_sdk.wire.registry import connect_codec

    transport = Transport(settings, await asyncio.to_thread(connect_codec, settings), "operator")
    await transport.open()
    try:
        count = await asyncio.to_thread(transport.partitions, COMMANDS)
        if body.partition >= count:
            raise CommandError("not_found", f"{COMMANDS} has no partition {body.partition}", f"it has {count}")
        command = Scope(transport, "", OPERATOR, correlation_id=new_id()).command(kinds.SKIP_RECORD, body, new_id())
        checked(await transport.request(command, TIMEOUT_S, partition=body.partition))
    finally:
        await transport.close()
