"""The platform whose processes most modules of this tier kill."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from backplane.platform.platform import LocalPlatform
from tests.support.chaos.platform import target
from tests.support.prepared import Prepared


@pytest.fixture(scope="package")
def platform(tmp_path_factory: pytest.TempPathFactory, prepared: Prepared) -> Iterator[LocalPlatform]:
    """Two ledgers, two executors; what they say stays in the logs of its directory. One for the tier: judge your own
    runs, not all there are; who judges those has a platform of its own."""
    with target(prepared.copy(tmp_path_factory.mktemp("target"))) as running:
        yield running
