"""State as its user sees it, with the ledger's core behind it: several keys, times, updates, types."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone

import pytest
from pydantic import BaseModel

from agents_sdk import ContractBroken, VersionConflict
from agents_sdk.context import Context
from agents_sdk.core import ids
from agents_sdk.core.commands import Command
from agents_sdk.scope import Scope
from agents_sdk.state import Entry, State
from agents_sdk.values import microseconds
from tests.support.core_requests import CoreRequests
from tests.support.ledger_desk import Desk


class Findings(BaseModel):
    sources: list[str]
    units: int = 0


@pytest.fixture
def desk() -> Desk:
    desk = Desk()
    desk.start()
    return desk


def state(requests: CoreRequests) -> State:
    return State(Scope(requests, "r", "client", correlation_id="c"))


async def test_several_keys_come_as_a_dictionary_without_those_that_have_no_value(desk: Desk) -> None:
    """Plain or typed, in one command; null is a value, a deleted key is none; asking for nothing asks nothing."""
    known = state(CoreRequests(desk))
    for key, value in {"a": None, "b": {"sources": ["x"]}, "gone": 1}.items():
        await known.set(key, value)
    await known.delete("gone")
    assert await known.get_many(["b", "a", "never", "gone", "b"]) == {"b": {"sources": ["x"]}, "a": None}
    assert await known.get_many(iter(["b"]), Findings) == {"b": Findings(sources=["x"])}
    sent = len(desk.sent)
    assert await known.get_many([]) == {}
    assert len(desk.sent) == sent
    with pytest.raises(ContractBroken) as broken:
        await known.get_many(["a", "b"], Findings)
    assert "'a'" in broken.value.message
    with pytest.raises(TypeError, match="use a list"):
        _ = known.get_many("ab")


async def test_a_value_that_does_not_fit_its_type_names_the_field(desk: Desk) -> None:
    """The path leads into the value."""
    known = state(CoreRequests(desk))
    await known.set("findings", {"sources": ["ok", 7]})
    with pytest.raises(ContractBroken) as broken:
        await known.get("findings", Findings)
    assert broken.value.fields["path"] == "sources[1]"
    assert "findings" in broken.value.message


async def test_a_key_is_read_as_of_a_time(desk: Desk) -> None:
    """A datetime of any zone, or microseconds."""
    known = state(CoreRequests(desk))
    await known.set("k", 1)  # the desk's clock: 1 ms a command
    await known.set("k", 2)
    then = datetime(1970, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))) + timedelta(milliseconds=1)
    assert await known.get("k", at=then) == 1
    assert await known.get("k", at=1_999) == 1
    assert await known.entry("k", at=2_000) == Entry("k", 2, 2)
    with pytest.raises(ValueError, match="without a zone"):
        _ = known.get("k", at=datetime(2026, 1, 1))  # noqa: DTZ001 - it is what is refused
    assert microseconds("at", datetime(2026, 1, 1, tzinfo=UTC)) == 1_767_225_600_000_000


async def test_concurrent_updates_are_all_in_the_value(desk: Desk) -> None:
    """Who lost the race reads again; nobody's update is lost."""
    requests = CoreRequests(desk)
    entries = await asyncio.gather(*(state(requests).update("n", lambda n: (n or 0) + 1) for _ in range(20)))
    assert sorted(entry.version for entry in entries) == list(range(1, 21))
    assert all(entry.value == entry.version for entry in entries)
    assert len(requests.sent) > 40, "there was no race at all"


async def test_an_update_that_always_comes_too_late_says_so(desk: Desk) -> None:
    """After its retries the conflict is raised, with the version it found."""

    def overtake(command: Command) -> None:
        if command.kind == "SetState":
            desk.send("SetState", key="n", value="7")

    requests = CoreRequests(desk, overtake)
    with pytest.raises(VersionConflict) as conflict:
        await state(requests).update("n", lambda n: n, retries=2)
    assert conflict.value.current_version == 3
    assert [command.kind for command in requests.sent] == ["GetState", "SetState"] * 3


async def test_an_update_is_typed_and_begins_with_none(desk: Desk) -> None:
    """A key without a value is None, also after a delete; else it is the model."""
    known = state(CoreRequests(desk))

    def add(before: Findings | None) -> Findings:
        return Findings(sources=[*(before.sources if before else ()), "x"])

    assert await known.update("f", add, Findings) == Entry("f", Findings(sources=["x"]), 1)
    assert (await known.update("f", add, Findings)).value.sources == ["x", "x"]
    await known.delete("f")
    assert await known.update("f", add, Findings) == Entry("f", Findings(sources=["x"]), 4)


async def test_an_update_in_a_handler_is_the_same_commands_again(desk: Desk) -> None:
    """A handler that is run again finds its update done: the same ids, the same answers, no further write."""
    desk.register("research")
    delivery = desk.deliver("research")
    versions = []
    for _ in range(2):
        requests = CoreRequests(desk)
        ctx = Context(requests, "research", delivery)
        versions.append((await ctx.state.update("n", lambda n: (n or 0) + 1)).version)
        assert [command.command_id for command in requests.sent] == [
            ids.derive(delivery.delivery_id, name) for name in ("0", "1")
        ]
        desk.send("SetState", key="n", value="70")
    assert versions == [1, 1]
