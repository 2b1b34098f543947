"""``echo``: gives its params back, for checking an installation and for measuring what a call itself costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backplane.providers.python import ProviderContext


async def echo(params: Mapping[str, Any], context: ProviderContext) -> dict[str, Any]:
    """The params, under ``params``."""
    return {"params": dict(params)}
