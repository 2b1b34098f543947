"""The spare process of a part: it takes the place of the one that died. Real processes, no Kafka."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psutil
import pytest

from backplane.platform.platform import LocalPlatform
from tests.support.eventually import assert_eventually

TABLE: Final = "tests.support.fake_part:SPARED"
ROOT: Final = Path(__file__).parents[2]


def gone(*pids: int) -> None:
    """A process that waits to be reaped has ended."""
    for pid in pids:
        try:
            assert psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            continue


def processes(platform: LocalPlatform) -> set[int]:
    """Those that the supervisor has started."""
    return {process.pid for process in psutil.Process(platform.supervisor_pid).children()}


@pytest.fixture
def spared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[LocalPlatform, int]]:
    """One part, and the process that waits to take its place."""

    def waiting() -> int:
        found = processes(platform) - {platform.pid("first")}
        assert len(found) == 1
        return found.pop()

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with LocalPlatform(tmp_path / "data", table=TABLE) as platform:
        yield platform, assert_eventually(waiting)


def test_a_spare_process_takes_the_place_of_a_killed_one(spared: tuple[LocalPlatform, int]) -> None:
    """At once, and another one waits after it; at the end nothing of them is left."""
    platform, spare = spared
    platform.kill("first")

    def back() -> None:
        part = platform.part("first")
        assert (part["state"], part["pid"], part["restarts"]) == ("ready", spare, 1)

    assert_eventually(back)

    def next_one() -> int:
        found = processes(platform) - {spare}
        assert len(found) == 1
        return found.pop()

    another = assert_eventually(next_one)
    platform.stop()
    gone(spare, another)


def test_a_spare_process_that_died_is_not_counted_on(spared: tuple[LocalPlatform, int]) -> None:
    """The part starts as it does without one."""
    platform, spare = spared
    os.kill(spare, signal.SIGKILL)
    before = platform.kill("first")

    def back() -> None:
        part = platform.part("first")
        assert part["state"] == "ready"
        assert part["pid"] not in (before, spare)

    assert_eventually(back)


def test_a_spare_process_ends_with_its_supervisor(spared: tuple[LocalPlatform, int]) -> None:
    """However that ends."""
    platform, spare = spared
    os.kill(platform.supervisor_pid, signal.SIGKILL)
    assert_eventually(lambda: gone(spare))
