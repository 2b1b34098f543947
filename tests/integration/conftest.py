"""The platform of the session as most tests of this tier see it; a module with one of its own says so itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from agents_sdk import AsyncBackplane, Settings


@pytest.fixture(scope="module")
def settings(platform: Any) -> Settings:
    """The running platform's."""
    found: Settings = platform.settings
    return found


@pytest.fixture
async def backplane(settings: Settings) -> AsyncIterator[AsyncBackplane]:
    """An open connection."""
    async with AsyncBackplane.connect(settings, name="tester") as opened:
        yield opened
