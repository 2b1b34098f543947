"""The table of parts, and what can be asked of it."""

from __future__ import annotations

import pytest

from backplane.platform.errors import PlatformError, UnknownPart
from backplane.platform.parts import TABLE, base_environment, select


def test_every_part_stands_only_on_parts_above_it() -> None:
    """So the table can be read from top to bottom, and there is no circle."""
    above: set[str] = set()
    for part in TABLE:
        assert set(part.node.after) <= above, part.name
        above.add(part.name)


def test_every_part_can_be_asked_whether_it_is_ready_or_is_a_task() -> None:
    """A part that is neither would be starting for ever."""
    for part in TABLE:
        asked = part.ready is not None or part.probe is not None
        assert (asked and part.ports) or part.node.task, part.name


def test_named_parts_bring_what_they_need() -> None:
    """Kafka cannot start in a directory that was not formatted."""
    assert {"format", "kafka"} <= {part.name for part in select(TABLE, ["kafka"])}
    assert "registry" not in {part.name for part in select(TABLE, ["kafka"])}


def test_parts_that_do_not_run_are_not_waited_for() -> None:
    """Only Kafka: nothing stands on topics any more."""
    running = {part.name for part in select(TABLE, ["kafka"])}
    for part in select(TABLE, ["kafka"]):
        assert set(part.node.after) <= running


def test_workers_are_copies_with_names_and_ports_of_their_own() -> None:
    """The first keeps the part's name."""
    rows = [part for part in select(TABLE, ["ledger"], {"ledger": 3}) if part.worker]

    assert [part.name for part in rows] == ["ledger", "ledger-2", "ledger-3"]
    assert [part.ports for part in rows] == [("ledger",), ("ledger-2",), ("ledger-3",)]


def test_only_workers_can_be_multiplied() -> None:
    """Two brokers would want one directory."""
    with pytest.raises(PlatformError, match="exactly once"):
        select(TABLE, [], {"kafka": 2})


def test_unknown_part_is_refused_with_the_names_there_are() -> None:
    """As a part, and as a worker."""
    with pytest.raises(UnknownPart, match="registry"):
        select(TABLE, ["kafak"])
    with pytest.raises(UnknownPart, match="registry"):
        select(TABLE, [], {"legder": 2})


def test_parts_do_not_inherit_the_addresses_of_another_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's production password stays out of the local processes; other knobs reach them."""
    monkeypatch.setenv("BACKPLANE_KAFKA__SASL_PASSWORD", "hunter2")
    monkeypatch.setenv("BACKPLANE_EXECUTOR__MAX_IN_FLIGHT", "8")
    env = base_environment()

    assert "BACKPLANE_KAFKA__SASL_PASSWORD" not in env
    assert env["BACKPLANE_EXECUTOR__MAX_IN_FLIGHT"] == "8"
