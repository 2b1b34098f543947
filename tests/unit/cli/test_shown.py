"""What a person sees: data as it is, nothing that a terminal obeys, ids whole, times with a zone."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backplane.cli import output
from backplane.cli.data_text import Text
from backplane.cli.shown import CONTROL, Zone, escaped, escaped_json, when
from backplane.cli.table import print_table

HOSTILE = (
    "[/x]",
    "[bold]b[/bold]",
    ":smile:",
    "\x1b]0;title\x07",
    "\x1b[2J",
    "a\tb\nc",
    "\u202egnp.exe",
    "\x9b31m",
    "\ud800",
)
RUN = "01930000-0000-7000-8000-000000000001"
MOVES: Any = re.compile(r"\x1b\[[0-9;]*m")


@given(st.text())
def test_escaped_text_holds_nothing_that_a_terminal_obeys(text: str) -> None:
    """And what is harmless stays as it is; what is kept is kept."""
    shown = escaped(text)

    assert CONTROL.search(shown) is None
    assert shown.encode() or not text
    plain = CONTROL.sub("", text)
    assert escaped(plain) == plain
    assert escaped("a\nb\x1b", keep="\n") == "a\nb\\x1b"


@given(st.recursive(st.text() | st.integers(), lambda each: st.lists(each) | st.dictionaries(st.text(), each)))
def test_escaped_json_is_the_same_document(value: Any) -> None:
    """Controls become escapes that JSON knows."""
    document = escaped_json(json.dumps(value, ensure_ascii=False))

    assert json.loads(document) == json.loads(json.dumps(value))
    assert CONTROL.search(document) is None


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "interactive", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("FORCE_COLOR", "1")


def test_a_table_shows_hostile_cells_and_headers_as_they_are(
    terminal: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither rich nor the terminal takes any of it for its own."""
    for text in HOSTILE:
        output.print_rows((text, "b"), [(text, 1)])
        out = MOVES.sub("", capsys.readouterr().out)
        assert CONTROL.search(out.replace("\n", "")) is None
        first = escaped(text, keep="\n").split("\n")[0]
        assert out.count(first) >= 2, text


def test_messages_and_errors_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    """An error's text may come from anywhere."""
    output.report(ValueError("\x1b[2J[/x]"))
    output.message("\x1b]0;x\x07")

    err = capsys.readouterr().err
    assert "\x1b" not in err
    assert "\\x1b[2J[/x]" in err


@pytest.mark.parametrize("width", [20, 40, 80, 100, 200])
def test_ids_are_never_cut(width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Columns are left out, or rows become blocks; a run, a hash and a dead letter are whole on a line."""
    monkeypatch.setenv("COLUMNS", str(width))
    letter, digest = "bp.inbox.a_long_name/2/17", "0" * 64
    words = "a sentence of some length that has to be folded somewhere"
    print_table(("run", "letter", "text", "n"), [[RUN, letter, words, "7"]] * 2, narrow=("run", "n"))
    if 40 <= width < 80:
        assert "not shown for want of room: letter, text" in MOVES.sub("", capsys.readouterr().out)
        print_table(("run", "n"), [[RUN, "7"]] * 2)
    print_table(("sha256", "text"), [[digest, words]])

    out = MOVES.sub("", capsys.readouterr().out)
    lines = out.splitlines()
    assert sum(RUN in line for line in lines) == 2
    assert any(digest in line for line in lines)
    assert width < 80 or "…" not in out
    assert width != 80 or "not shown" not in out
    assert width < 200 or "not shown" not in out


def test_appended_text_is_escaped_too() -> None:
    """By any way into a text of rich."""
    text = Text.assemble("\x1b", ("[x]\x1b", "bold")).append("\x07")

    assert text.plain == "\\x1b[x]\\x1b\\x07"


def test_times_carry_their_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's, or UTC for all when asked for."""
    import time

    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    try:
        assert when(1_795_521_600_123_456) == "2026-11-24 17:30:00+05:30"
        monkeypatch.setattr(Zone, "utc", True)
        assert when(1_795_521_600_123_456) == "2026-11-24 12:00:00Z"
        assert when(1_795_521_600_123_456, fraction=True) == "2026-11-24 12:00:00.123Z"
        assert when(0) == ""
    finally:
        monkeypatch.undo()
        time.tzset()
