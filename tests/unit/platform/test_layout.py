"""One supervisor a data directory; a record that is never half written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from backplane.platform import layout as layout_module
from backplane.platform.errors import DataDirTaken, PlatformError
from backplane.platform.layout import Layout


def test_directory_has_one_owner_until_that_closes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one is told the pid of the first, and what to do."""
    monkeypatch.setattr(layout_module, "LOCK_WAIT_S", 0.1)
    layout = Layout(tmp_path / "data")
    owned = layout.own()
    layout.write_record({"supervisor": {"pid": 4711}})
    assert layout.running()

    with pytest.raises(DataDirTaken, match=r"4711.*backplane down") as caught:
        layout.own()
    assert caught.value.fields["pid"] == 4711

    os.close(owned)
    assert not layout.running()
    os.close(layout.own())


def test_record_reads_back_and_a_broken_one_counts_as_none(tmp_path: Path) -> None:
    """Whatever lies in its place."""
    layout = Layout(tmp_path)
    assert layout.read_record() == {}

    layout.write_record({"ports": {"kafka": 1}})
    assert layout.read_record() == {"ports": {"kafka": 1}}
    assert [path.name for path in tmp_path.iterdir()] == ["platform.json"]

    layout.record.write_text('{"ports":')
    assert layout.read_record() == {}


def test_directory_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    """Here: its parent is a file."""
    (tmp_path / "file").write_text("")

    with pytest.raises(PlatformError, match="cannot write"):
        Layout(tmp_path / "file" / "data").own()
