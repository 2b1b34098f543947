"""A platform that only the tests of this tier use: what they write into its topics nobody else should meet."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from agents_sdk import AsyncBackplane, Settings
from agents_sdk.wire.registry import connect_codec
from backplane.platform.platform import LocalPlatform
from tests.conftest import TESTS
from tests.support.dishonest import Dishonest
from tests.support.prepared import Prepared


@pytest.fixture(scope="package")
def platform(tmp_path_factory: pytest.TempPathFactory, prepared: Prepared) -> Iterator[LocalPlatform]:
    """The whole platform, for attacks."""
    env = {"PYTHONPATH": str(TESTS.parent)}
    with LocalPlatform(prepared.copy(tmp_path_factory.mktemp("attacked")), env=env) as running:
        yield running


@pytest.fixture
def settings(platform: LocalPlatform) -> Settings:
    """The platform's, as its owner has them."""
    return platform.settings


@pytest.fixture
def attacker(settings: Settings) -> Dishonest:
    """Somebody who may write to every topic."""
    return Dishonest(settings, connect_codec(settings))


@pytest.fixture
async def backplane(settings: Settings) -> AsyncIterator[AsyncBackplane]:
    """An honest client."""
    async with AsyncBackplane.connect(settings, name="honest") as opened:
        yield opened
