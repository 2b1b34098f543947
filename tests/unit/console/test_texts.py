"""Differences, files that values name, figures as they are written, and the files that others wrote."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents_sdk.artifacts import ArtifactStore, UnknownArtifact
from backplane.console import render
from backplane.console.chunks import chunks_at
from backplane.console.difference import difference
from backplane.console.previews import (
    MEDIA_BYTES,
    TEXT_BYTES,
    Files,
    Preview,
    PreviewPart,
    TooLarge,
    inside,
    paths_in,
    shown,
)
from backplane.insight.answers import RunRow

ROOT = Path(__file__).parents[3]
CONSOLE = ROOT / "services/backplane/console"
LOCKS = [CONSOLE / "static/vendor/lock.json", ROOT / "tests/assets/lock.json"]
PNG = b"\x89PNG\r\n\x1a\nrest"
LINES = st.lists(st.sampled_from(["a", "b", "c", ""]), max_size=12).map("\n".join)


@given(LINES, LINES)
def test_a_difference_leads_from_one_text_to_the_other(old: str, new: str) -> None:
    """Equal texts have none; otherwise what was removed is of the old text and what was added of the new one."""
    pieces = difference(old, new)
    assert (not pieces) == (old.splitlines() == new.splitlines())
    removed = [piece.text for piece in pieces if piece.what == "removed"]
    added = [piece.text for piece in pieces if piece.what == "added"]
    assert len(old.splitlines()) - len(removed) == len(new.splitlines()) - len(added)
    assert all(text in old.splitlines() for text in removed)
    assert all(text in new.splitlines() for text in added)


def test_only_files_of_the_platform_are_shown(tmp_path: Path) -> None:
    """A value may name anything; links that lead away, parents and other folders are nothing."""
    (tmp_path / "published" / "ab").mkdir(parents=True)
    image = tmp_path / "published" / "ab" / "x.png"
    image.write_bytes(PNG)
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "master.key").write_text("secret")
    (tmp_path / "published" / "away").symlink_to(tmp_path / "keys" / "master.key")
    files = Files(tmp_path, ArtifactStore(tmp_path))

    assert inside(tmp_path, "published/ab/x.png") == image
    for name in ("keys/master.key", "published/../keys/master.key", "published/away", "/etc/passwd", "published", "\0"):
        assert inside(tmp_path, name) is None
        assert files.file(name) is None
    text = json.dumps({"path": str(image), "again": [image.as_uri()], "other": str(tmp_path / "keys/master.key")})
    assert files.previews(text) == [Preview("/files/published/ab/x.png", "x.png", "image", len(PNG))]


def test_an_artifact_is_shown_as_what_it_is_and_never_runs(tmp_path: Path) -> None:
    """By its bytes, not by what is said of it; text only as much as can be read, a film only as much as can be held."""
    store = ArtifactStore(tmp_path)
    files = Files(tmp_path, store)
    image, page, film = (store.put(one, "x/y").uri for one in (PNG, b"<script>\xff", b"\0\0\0 ftypisom"))
    long, empty = store.put(b"x" * (TEXT_BYTES + 1), "text/plain").uri, store.put(b"", "text/plain").uri
    lost = "artifact:" + "ab" * 32

    told = files.previews(json.dumps([image, {"uri": page}, film, long, empty, lost, image]))
    assert [one.kind for one in told] == ["image", "text", "video", "text", "text", "missing"]
    assert [one.size for one in told] == [len(PNG), 9, 12, TEXT_BYTES + 1, 0, 0]
    kept = {one.title: files.artifact(one.href.rsplit("/", 1)[1]) for one in told[:5]}
    assert kept[image] == PreviewPart(PNG, "image/png")
    assert kept[page] == PreviewPart("<script>\ufffd".encode(), "text/plain; charset=utf-8")
    assert kept[empty].content == b""
    assert kept[long].content.startswith(b"x" * TEXT_BYTES + b"\n\n")
    assert len(kept[long].content) < TEXT_BYTES + 300
    with pytest.raises(UnknownArtifact):
        files.artifact("ab" * 32)
    with pytest.raises(TooLarge, match="33,554,433 bytes"):
        shown(PNG, MEDIA_BYTES + 1, lambda: pytest.fail("it was read all the same"), "")


def test_a_store_that_does_not_answer_is_asked_once_a_value(tmp_path: Path) -> None:
    """Files that nobody can tell of are told so; the page comes all the same."""
    blocked = tmp_path / "not-a-folder"
    blocked.write_text("")
    files = Files(blocked, ArtifactStore(blocked))

    told = files.previews(json.dumps([f"artifact:{digit * 64}" for digit in "ab"]))
    assert [one.kind for one in told] == ["unreachable", "unreachable"]


@given(st.text())
def test_any_text_may_be_looked_through(text: str) -> None:
    """JSON or not, nothing is raised."""
    assert all(isinstance(name, str) for name in paths_in(text))


@given(st.integers(0, 350), st.one_of(st.integers(0, 400).map(str), st.sampled_from(["", "-1", "x", "²"])))
def test_chunks_are_all_lines_from_the_page_on_each_once(total: int, text: str) -> None:
    """Whatever an address asks for, the line that it names is on the page, if there is one of that number."""
    chunks = chunks_at(text, total)
    lines = list(range(total))
    fetched = [line for chunk in chunks.later for line in lines[chunk.start : chunk.start + chunk.length]]
    assert lines[chunks.here] + fetched == lines[chunks.start :]
    assert (chunks.earlier is None) == (chunks.start == 0)
    if text.isdecimal() and int(text) < total:
        assert int(text) in lines[chunks.here]


def test_figures_are_written_for_people() -> None:
    """Sizes, thousands, ids, times."""
    assert [render.size(count) for count in (0, 999, 1_500, 2_500_000)] == ["0 B", "999 B", "1.5 kB", "2.5 MB"]
    assert render.number(1234567) == "1\u202f234\u202f567"
    assert render.short("01930000-0000-7000-8000-000000000001") == "…000000000001"
    assert render.when(0) == ""
    assert "24 Nov 12:00:00" in render.when(1_795_521_600_000_000)
    assert render.pretty('{"a":1}') == '{\n  "a": 1\n}'
    assert render.pretty("no json") == "no json"


def test_commands_in_hints_are_code_and_nothing_else_is() -> None:
    """What stands between backticks, escaped as all else."""
    assert render.coded("see `a <b>` & c") == "see <code>a &lt;b&gt;</code> &amp; c"
    assert render.coded("none") == "none"


def test_addresses_are_quoted() -> None:
    """Whatever a key or an agent is called."""
    assert render.path("agents", "a/b c") == "/agents/a%2Fb%20c"
    assert render.link("/state", key="a&b", run="") == "/state?key=a%26b"


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.parent.name)
def test_files_of_others_are_what_they_were(lock: Path) -> None:
    """Each vendored file has its package, version, licence and hash; none is there without."""
    entries = json.loads(lock.read_text())
    for entry in entries:
        data = (lock.parent / entry["file"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == entry["sha256"], entry["file"]
        assert entry["version"], entry["licence"]
        assert entry["integrity"].startswith("sha512-")
    there = {path.name for path in lock.parent.iterdir() if path.is_file()} - {"lock.json", "__init__.py"}
    assert there == {entry["file"] for entry in entries}


def test_nothing_is_fetched_from_outside() -> None:
    """No template, style or script of ours names another host; no template has a script or style of its own."""
    ours = [*(CONSOLE / "templates").iterdir(), *(CONSOLE / "static").glob("console.*")]
    for file in ours:
        text = file.read_text().replace("http://www.w3.org/2000/svg", "")
        assert "://" not in text, file.name
        forbidden = ("style=", "<style", "onclick", "innerHTML =", "|safe", "insertAdjacent")
        assert [word for word in forbidden if word in text] == [], file.name


@pytest.mark.parametrize(
    ("status", "reason", "said", "shown"),
    [
        ("cancelled", "'t' cancelled the run", "enough", "by &#39;t&#39;, who said enough"),
        ("cancelled", "'t' cancelled the run", "", "by &#39;t&#39;"),
        ("failed", "agent 'w' failed 3 times", "<b>", "agent &#39;w&#39; failed 3 times; t said &lt;b&gt;"),
        ("cancelled", "", "enough", "t said enough"),
    ],
)
def test_why_a_run_ended_is_said_once_beside_its_status(status: str, reason: str, said: str, shown: str) -> None:
    """The one who ended it, and what was said about it."""
    blank: dict[str, Any] = dict.fromkeys(RunRow.__struct_fields__, "")
    run = RunRow(**{**blank, "status": status, "reason": reason, "said": said, "said_by": "t"})
    page = render.environment().from_string('{% import "parts.html.j2" as parts with context %}{{ parts.why(run) }}')
    assert re.sub(r"</?(span|q)[^>]*>", "", page.render(run=run)) == shown
