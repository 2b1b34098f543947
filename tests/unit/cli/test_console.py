"""``backplane console`` starts a browser: its command line is for others on this machine to read."""

from __future__ import annotations

import webbrowser
from pathlib import Path

import pytest

from backplane.cli.console import _show


def test_no_token_is_on_the_command_line_of_the_browser(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The person is told where it is instead; a terminal's log has it neither."""
    file, opened = tmp_path / "token", list[str]()
    file.write_text("s3cret-token-of-24-characters\n")
    monkeypatch.setattr(webbrowser, "open", opened.append)

    _show("http://127.0.0.1:1/", False, file)

    said = capsys.readouterr()
    assert opened == ["http://127.0.0.1:1/"]
    assert str(file) in said.err
    assert "s3cret" not in said.out + said.err
