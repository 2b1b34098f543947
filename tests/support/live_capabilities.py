"""Python providers that tests apply to a running platform."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

from services.capabilities.providers.python import ProviderContext

EVERY_S: Final = 0.02


async def say(params: dict[str, Any], context: ProviderContext) -> dict[str, Any]:
    """The word of the manifest; not before the file ``gate`` is there, if one is named."""
    gate = params.get("gate")
    while gate and not await asyncio.to_thread(Path(gate).exists):
        await asyncio.sleep(EVERY_S)
    return {"word": context.config["word"]}
