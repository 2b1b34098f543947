"""The provider of the capability ``noop``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


async def noop(params: Mapping[str, Any], context: Any) -> dict[str, Any]:
    """An empty result."""
    return {}
