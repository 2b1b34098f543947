"""Records to rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from agents_sdk import schemas
from agents_sdk.core import facts
from agents_sdk.core.facts import Fact
from agents_sdk.topics import TOPIC_OF_FACT
from backplane.sink import rows
from backplane.sink.rows import Block, Record
from tests.support.ledger_desk import Desk
from tests.support.stories import NOON, article, records

DECEMBER = 1_796_083_200_000_000
"""2026-12-01 00:00 UTC."""

EXAMPLES = sorted(
    path for record in TOPIC_OF_FACT for path in (schemas.root() / "examples" / record.__name__).glob("*.json")
)


def as_dicts(block: Block) -> list[dict[str, Any]]:
    return [dict(zip(block.names, row, strict=True)) for row in zip(*block.columns, strict=True)]


def test_every_fact_type_has_a_mapping() -> None:
    """A record type without columns would be a fact that cannot be stored."""
    assert set(rows.COLUMNS_OF) == {*Fact.__subclasses__(), rows.Unreadable}


def test_every_field_has_a_column_of_its_own() -> None:
    """No two fields of a record meet in one column, and none is left out."""
    for record, columns in rows.COLUMNS_OF.items():
        assert len(set(columns)) == len(record.__struct_fields__), record.__name__
        assert set(columns) <= set(rows.COLUMNS)


def test_a_column_shared_by_records_has_one_type() -> None:
    """Fields of one name mean one thing everywhere: a column cannot be text for one record and a number for another."""
    types: dict[str, Any] = {}
    for record, columns in rows.COLUMNS_OF.items():
        hints = get_type_hints(record)
        for field, column in zip(record.__struct_fields__, columns, strict=True):
            assert types.setdefault(column, hints[field]) == hints[field], (record.__name__, field)


def test_cost_of_a_call_is_kept_apart_from_cost_of_its_attempts() -> None:
    """Summing the cost column over all facts counts the leaves only."""
    story = article()

    block = rows.events(records(story.facts))
    cost = sum(row["cost_nano_usd"] for row in as_dicts(block))

    assert cost == sum(fact.cost_nano_usd for fact in story.facts if isinstance(fact, facts.AttemptEvent))
    assert cost == sum(row["call_cost_nano_usd"] for row in as_dicts(block)) > 0


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_example_maps(path: Path) -> None:
    """Each named example of a fact becomes one row that holds each of its fields."""
    record = next(record for record in TOPIC_OF_FACT if record.__name__ == path.parent.name)
    given = json.loads(path.read_text())
    fact = record(**given)

    [row] = as_dicts(rows.events([Record(TOPIC_OF_FACT[record], 1, 7, 1_000, fact)]))

    columns = dict(zip(record.__struct_fields__, rows.COLUMNS_OF[record], strict=True))
    expected = {columns[field]: value for field, value in given.items()}
    if not fact.run_seq and fact.kind in ("CommandRefused", "MessageDiscarded", "CallDiscarded"):
        expected |= {"run_id": "", "about_run_id": fact.run_id}
        expected |= {name: "" for name in ("parent_run_id", "root_run_id") if name in given}
    assert expected.items() <= row.items()
    assert (row["topic"], row["partition"], row["offset"], row["appended_at"]) == (TOPIC_OF_FACT[record], 1, 7, 1_000)


def test_what_came_when_a_run_had_ended_is_no_part_of_its_record() -> None:
    """The row says which run was meant; whoever asks for the run's rows gets those of its record, and no other."""
    desk = Desk()
    desk.start()
    desk.send("CompleteRun", result="1")
    recorded = len(desk.facts)
    late: dict[str, dict[str, str]] = {
        "GetState": {"key": "k"},
        "SetState": {"key": "k", "value": "1"},
        "Publish": {"name": "a.b"},
        "CallCapability": {"capability": "c"},
        "Discard": {"name": "a.b", "dead_delivery_id": "d", "reason": "old"},
    }
    for kind, fields in late.items():
        desk.send(kind, **fields)
    all_rows = as_dicts(rows.events(records(desk.facts)))
    assert len(all_rows) == recorded + 5
    assert [row["run_seq"] for row in all_rows if row["run_id"] == "r"] == list(range(1, recorded + 1))
    assert sum(row["about_run_id"] == "r" for row in all_rows) == 5


def test_there_are_examples_of_every_fact() -> None:
    """The test above is not empty for any record."""
    assert {path.parent.name for path in EXAMPLES} == {record.__name__ for record in TOPIC_OF_FACT}


def test_a_batch_names_only_columns_that_its_records_have() -> None:
    """A batch without registrations does not carry their lists."""
    started = [fact for fact in article().facts if isinstance(fact, facts.RunEvent)]

    block = rows.events(records(started))

    assert "subscriptions" not in block.names
    assert "workflow" in block.names
    assert {len(column) for column in block.columns} == {len(started)}


def at(offset: int, time: int, topic: str = "bp.runs") -> Record:
    return Record(topic, 0, offset, time // 1000, rows.Unreadable(event_id=f"{topic}/{offset}", at=time))


def test_a_batch_of_one_month_is_one_insert() -> None:
    """The usual batch is not cut."""
    batch = [at(0, NOON), at(1, NOON + 1)]

    assert list(rows.inserts(batch)) == [batch]


def test_no_insert_spans_two_months_and_offsets_only_grow() -> None:
    """At midnight of a month's last day the batch is cut, so that each insert stays atomic and the highest offset
    stored never stands above a hole."""
    batch = [at(0, DECEMBER - 1), at(0, DECEMBER, "bp.state"), at(1, DECEMBER), at(2, DECEMBER - 1), at(3, DECEMBER)]

    parts = list(rows.inserts(batch))

    assert all(len({rows.month(record.row.at) for record in part}) == 1 for part in parts)
    assert [record.offset for part in parts for record in part if record.topic == "bp.runs"] == [0, 1, 2, 3]


def test_an_unreadable_record_has_a_row() -> None:
    """Rows and offsets stay equal, whatever lies in the topic."""
    record = rows.unreadable("bp.state", 2, 9, 1_700_000_000_000, "undecodable", "x" * 5000)

    [row] = as_dicts(rows.events([record]))

    assert (row["kind"], row["event_id"], row["error_code"]) == ("Unreadable", "bp.state/2/9", "undecodable")
    assert len(row["error_message"]) == 2000


@pytest.mark.parametrize("at_", [-1, rows.LATEST_AT, 2**63 - 1])
def test_a_fact_out_of_time_is_unmappable(at_: int) -> None:
    """A time that ClickHouse cannot hold is told, not bent."""
    envelope: dict[str, Any] = {
        **dict.fromkeys(Fact.__struct_fields__, ""),
        "run_seq": 0,
        "command_offset": 0,
        "at": at_,
    }
    fact = facts.DecisionEvent(**envelope, action="a")

    assert str(at_) in rows.unmappable(fact)
