"""The providers of the capabilities that are measured: what they do themselves takes no time, or a known one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from backplane.recovery.outcome import ProviderError
from tests.benchmarks.stage import SLOW_S


async def noop(params: Mapping[str, Any], context: Any) -> dict[str, Any]:
    """An empty result."""
    return {}


async def slow(params: Mapping[str, Any], context: Any) -> dict[str, Any]:
    """An empty result, after a second."""
    await asyncio.sleep(SLOW_S)
    return {}


async def refuse(params: Mapping[str, Any], context: Any) -> dict[str, Any]:
    """No result, ever: whoever is next is asked at once."""
    raise ProviderError("auth", "not for you")


async def down(params: Mapping[str, Any], context: Any) -> dict[str, Any]:
    """No result, as of a provider that is down: after a few of these its breaker opens."""
    raise ProviderError("outage", "nobody there")
