"""Python providers that tests apply to a running platform."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any, Final

from backplane.providers.python import ProviderContext

EVERY_S: Final = 0.02


async def say(params: dict[str, Any], context: ProviderContext) -> dict[str, Any]:
    """The word of the manifest; not before the file ``gate`` is there, if one is named."""
    gate = params.get("gate")
    while gate and not await asyncio.to_thread(Path(gate).exists):
        await asyncio.sleep(EVERY_S)
    return {"word": context.config["word"]}


async def sign(params: dict[str, Any], context: ProviderContext) -> dict[str, Any]:
    """The process that was asked, which it writes down before it waits for the gate, if there is one."""
    await asyncio.to_thread(_append, Path(params["journal"]), f"{os.getpid()}\n")
    await say(params, context)
    return {"pid": os.getpid()}


def _append(journal: Path, line: str) -> None:
    with journal.open("a") as opened:
        opened.write(line)
