"""`ctx.artifacts`: bytes in the store, a descriptor in the run's state, and facts that say who put and who got them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from agents_sdk.artifacts import ArtifactStore, UnknownArtifact
from agents_sdk.context import Context
from agents_sdk.core import ids
from agents_sdk.errors import ScopeDenied
from tests.support.core_requests import CoreRequests
from tests.support.ledger_desk import Desk

BYTES = b"%PDF-1.7 a report"
SHA256 = hashlib.sha256(BYTES).hexdigest()


class Place:
    """A ledger's desk with two agents in a run, and a store."""

    def __init__(self, folder: Path) -> None:
        self.desk = Desk()
        self.requests: Any = CoreRequests(self.desk, artifacts=ArtifactStore(folder))
        self.desk.register("writer")
        self.desk.register("narrow", reads=["plan"], writes=["plan"])
        self.desk.start()

    def handler(self, agent: str) -> Context:
        return Context(self.requests, agent, self.desk.deliver(agent))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


async def test_what_was_put_is_got_listed_and_on_the_record(place: Place, tmp_path: Path) -> None:
    """By whatever it is named; the fact of its writing is the one that the reference tells."""
    ctx = place.handler("writer")
    (tmp_path / "report.pdf").write_bytes(BYTES)
    kept = await ctx.artifacts.put(tmp_path / "report.pdf")
    other = await ctx.artifacts.put(b"raw")

    assert (kept.sha256, kept.size, kept.mime, kept.uri) == (
        SHA256, len(BYTES), "application/pdf", f"artifact:{SHA256}",
    )  # fmt: skip
    assert other.mime == "application/octet-stream"
    for named in (kept, kept.uri, kept.descriptor(), SHA256):
        assert await ctx.artifacts.get(named) == BYTES
    assert await ctx.artifacts.list() == sorted([kept.uri, other.uri])
    written = [fact for fact in place.desk.facts if fact.kind == "StateWritten"]
    read: list[Any] = [fact for fact in place.desk.facts if fact.kind == "StateRead"]
    assert [fact.event_id for fact in written] == [kept.event_id, other.event_id]
    assert [(fact.key, fact.version) for fact in read] == [(f"artifacts/{SHA256}", 1)] * 4


async def test_ids_are_taken_when_the_call_is_made(place: Place) -> None:
    """However long the store takes: a handler that is run again is told the same."""
    ctx = place.handler("writer")
    second, first = ctx.artifacts.put(b"2"), ctx.state.set("plan", 1)
    await first
    await second
    delivery = place.requests.sent[0].delivery_id
    assert {one.command_id: one.state.key for one in place.requests.sent} == {
        ids.derive(delivery, "1"): "plan",
        ids.derive(delivery, "0"): f"artifacts/{hashlib.sha256(b'2').hexdigest()}",
    }


async def test_a_role_holds_for_files_too(place: Place) -> None:
    """Neither put nor got by an agent whose declaration does not name them, though the store would give them."""
    kept = await place.handler("writer").artifacts.put(BYTES)
    narrow = place.handler("narrow")
    with pytest.raises(ScopeDenied):
        await narrow.artifacts.get(kept)
    with pytest.raises(ScopeDenied):
        await narrow.artifacts.put(b"other")


async def test_a_file_that_is_not_there_or_no_reference_is_told_so(place: Place) -> None:
    """The one by the store, the other at once, before anything is sent."""
    ctx = place.handler("writer")
    with pytest.raises(UnknownArtifact):
        await ctx.artifacts.get("0" * 64)
    sent = len(place.requests.sent)
    for nothing in ("report.pdf", {"sha256": SHA256}, ""):
        with pytest.raises(UnknownArtifact, match="no reference"):
            _ = ctx.artifacts.get(nothing)
    assert len(place.requests.sent) == sent
