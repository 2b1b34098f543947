"""Processes of a group see each other die by the kernel's locks: the killed ones, not the slow ones."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote

import pytest

from agents_sdk import peers
from agents_sdk.peers import Peers
from tests.support.eventually import assert_eventually

GROUP: Final = "bp.agent.some"
ROOT: Final = Path(__file__).parents[3]
PROGRAM: Final = """
import sys, time
from agents_sdk.peers import Peers
Peers(sys.argv[1], sys.argv[2], sys.argv[3], lambda name: None).open()
print("open", flush=True)
time.sleep(600)
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "LOOK_S", 0.02)
    monkeypatch.setattr(peers, "GRACE_S", 0.1)


class Stand:
    """A process that watches, and others that it sees."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.evicted: list[str] = []
        self.watching = Peers(folder, GROUP, "m", self.evicted.append)
        self.watching.open()
        self.others: dict[str, subprocess.Popen[str]] = {}

    def start(self, name: str) -> None:
        command = [sys.executable, "-c", PROGRAM, str(self.folder), GROUP, name]
        process = self.others[name] = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        assert_eventually(lambda: self.is_watched(name))

    def is_watched(self, name: str) -> None:
        assert quote(name, safe="") in self.watching._watched

    def send(self, name: str, number: signal.Signals) -> None:
        os.kill(self.others[name].pid, number)
        if number is signal.SIGKILL:
            self.others[name].wait()

    def saw(self, *names: str) -> None:
        assert sorted(self.evicted) == sorted(names)


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    made = Stand(tmp_path)
    yield made
    made.watching.close()
    for process in made.others.values():
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_who_is_killed_is_evicted_and_who_is_frozen_is_not(stand: Stand) -> None:
    """Names before and behind the watcher's, and one that is no file name."""
    for name in ("a", "z", "of/one agent", "frozen"):
        stand.start(name)
    stand.send("frozen", signal.SIGSTOP)
    for name in ("a", "z", "of/one agent"):
        stand.send(name, signal.SIGKILL)

    assert_eventually(lambda: stand.saw("a", "z", "of/one agent"))
    stand.send("frozen", signal.SIGKILL)
    assert_eventually(lambda: stand.saw("a", "z", "of/one agent", "frozen"))


def test_who_is_back_under_its_name_in_time_is_not_evicted(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is evicted when it does not come back the next time."""
    monkeypatch.setattr(peers, "GRACE_S", 20.0)
    stand.start("a")
    stand.send("a", signal.SIGKILL)
    again = Peers(stand.folder, GROUP, "a", stand.evicted.append)
    again.open()
    assert not stand.watching._ended("a")
    again.close()
    assert stand.watching._ended("a")
    stand.saw("a")


def test_a_process_comes_back_only_when_it_is_evicted(tmp_path: Path) -> None:
    """Else the request that removes the dead one would remove it."""
    order: list[str] = []
    back: list[Peers] = []

    def evict(name: str) -> None:
        second = Peers(tmp_path, GROUP, name, order.append)
        back.append(second)
        assert not second._own_lock(fcntl.LOCK_NB)
        order.append(name)

    watching = Peers(tmp_path, GROUP, "m", evict)
    watching.open()
    first = Peers(tmp_path, GROUP, "a", order.append)
    first.open()
    assert_eventually(lambda: _contains(watching._watched, "a"))
    first.close()
    assert_eventually(lambda: _contains(order, "a"))
    assert_eventually(lambda: _locks(back[0]))
    for each in (back[0], watching):
        each.close()


def _contains(names: object, name: str) -> None:
    assert name in names  # type: ignore[operator]


def _locks(one: Peers) -> None:
    assert one._own_lock(fcntl.LOCK_NB)


def test_a_second_process_of_one_name_goes_on_and_has_the_lock_when_the_first_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A zombie that wakes up and ends does not cost its successor the membership."""
    monkeypatch.setattr(peers, "OWN_S", 0.1)
    first, second = (Peers(tmp_path, GROUP, "a", lambda name: None) for _ in range(2))
    first.open()
    second.open()
    assert second._own < 0
    first.close()

    def locked() -> None:
        assert second._own >= 0

    assert_eventually(locked)
    second.close()


def test_a_folder_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    """The end of the session does the same, later."""
    (tmp_path / "members").write_text("in the way")
    alone = Peers(tmp_path, GROUP, "a", lambda name: None)
    alone.open()
    alone.close()


def test_a_process_of_another_machine_is_left_to_its_session(stand: Stand) -> None:
    """A file system that several machines share may tell of the locks of one of them alone: theirs look free here."""
    far = stand.folder / "members" / stand.watching._folder.name / "far"
    far.write_bytes(b"another-boot")
    stand.start("near")
    stand.send("near", signal.SIGKILL)
    assert_eventually(lambda: _equal(stand.evicted, ["near"]))
    assert far.exists()


def _equal(found: object, wanted: object) -> None:
    assert found == wanted
