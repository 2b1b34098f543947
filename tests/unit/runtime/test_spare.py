"""A spare process knows its platform, waits for its turn, and goes by the settings of then."""

from __future__ import annotations

import os
from typing import Any, cast

import pytest

from backplane.runtime.spare import VARIABLE, when_its_turn_comes


class Start:
    """Settings that change, and what was asked of the platform by them."""

    def __init__(self, *settings: str) -> None:
        self.left = list(settings)
        self.reached: list[str] = []

    def load(self) -> Any:
        return self.left.pop(0)

    def reach(self, settings: Any) -> Any:
        self.reached.append(settings)
        return f"codec of {settings}"

    def result(self) -> tuple[str, str]:
        return cast("tuple[str, str]", when_its_turn_comes(self.load, self.reach, ["json"]))


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What comes on stdin; reading more would block."""
    coming: list[bytes] = []
    monkeypatch.setattr(os, "read", lambda file, count: coming.pop(0))
    return coming


def test_a_process_that_is_no_spare_begins_at_once(stdin: list[bytes]) -> None:
    """Nothing is read from its stdin."""
    assert Start("a").result() == ("a", "codec of a")


def test_a_spare_process_asks_the_platform_once(stdin: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Before its turn; and a process that begins again does not wait again."""
    monkeypatch.setenv(VARIABLE, "1")
    stdin.append(b"\n")
    start = Start("a", "a")
    assert start.result() == ("a", "codec of a")
    assert start.reached == ["a"]
    assert VARIABLE not in os.environ


def test_settings_that_changed_meanwhile_count(stdin: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """As they would for a process that starts now."""
    monkeypatch.setenv(VARIABLE, "1")
    stdin.append(b"\n")
    start = Start("a", "b")
    assert start.result() == ("b", "codec of b")
    assert start.reached == ["a", "b"]


def test_a_spare_process_that_nobody_needs_ends(stdin: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever would let it begin is gone."""
    monkeypatch.setenv(VARIABLE, "1")
    stdin.append(b"")
    with pytest.raises(SystemExit) as ended:
        Start("a").result()
    assert ended.value.code == 0
