"""A short fuzz of every topic and port: ``make fuzz`` is the long form, ``SEED=… FUZZ_INPUTS=…`` another one."""

from __future__ import annotations

import os
from typing import Final

import pytest

from backplane.platform.platform import LocalPlatform
from tests.fuzz.trial import fuzz
from tests.support.prepared import Prepared

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
INPUTS: Final = int(os.environ.get("FUZZ_INPUTS", "6000"))


async def test_no_input_stops_the_platform(tmp_path_factory: pytest.TempPathFactory, prepared: Prepared) -> None:
    """After each batch runs go on in all partitions; every process is the one it was, and none has met an exception
    that nobody thought of."""
    seed = int(os.environ.get("SEED", "1"))
    print(f"seed {seed}")
    with LocalPlatform(prepared.copy(tmp_path_factory.mktemp("fuzz"))) as platform:
        report = await fuzz(platform, seed, INPUTS, 2_000, 100)
    assert report.faults == [], (seed, report.faults)
    assert len(report.kinds) >= 25, "every topic and port had its share"
