"""Providers that fail as they are told to, until they are mended."""

from __future__ import annotations

from typing import Any, Final

from backplane.recovery.outcome import ProviderError

MENDED: Final = "mended"
"""Prefix of the files in the data directory that mend a provider, one a name."""


async def moody(params: dict[str, Any], context: Any) -> dict[str, Any]:
    """Fails with the class ``params["fails"]`` until ``params["name"]`` is mended."""
    if not (context.data_dir / f"{MENDED}-{params['name']}").exists():
        raise ProviderError(params["fails"], "not today")
    return {"hits": [params["name"]]}


async def steady(params: dict[str, Any], context: Any) -> dict[str, Any]:
    """Never fails, and speaks another language than ``moody``."""
    return {"found": [params["q"]]}
