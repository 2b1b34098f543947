"""Laws of the sink's mapping: total, one row a record, a function of the record; cuts keep order and atomicity."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
from hypothesis import given, settings

from agents_sdk import schemas
from agents_sdk.core.facts import Fact
from agents_sdk.topics import TOPIC_OF_FACT
from backplane.sink import rows
from backplane.sink.edges import edges, edges_of
from backplane.sink.rows import Record

INT32 = st.integers(-(2**31), 2**31 - 1)
INT64 = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
BY_TYPE: dict[str, st.SearchStrategy[Any]] = {
    "string": TEXT,
    "long": INT64,
    "int": INT32,
    "boolean": st.booleans(),
    "array": st.lists(TEXT, max_size=3),
    "map of long": st.dictionaries(TEXT, INT64, max_size=3),
    "map of string": st.dictionaries(TEXT, TEXT, max_size=3),
}
KINDS = {record: str(record.__doc__).replace(",", " ").replace(".", " ").split() for record in TOPIC_OF_FACT}


def facts_of(record: type[Fact]) -> st.SearchStrategy[Fact]:
    """Anything that the record's Avro schema allows, its kinds more often than chance would have it."""
    fields = {}
    for field in schemas.latest(record.__name__)["fields"]:
        kind = field["type"]["type"] if isinstance(field["type"], dict) else field["type"]
        kind = f"map of {field['type']['values']}" if kind == "map" else kind
        fields[field["name"]] = BY_TYPE[kind]
    fields["run_seq"] = st.just(0) | INT64
    kinds = [word for word in KINDS[record] if word[:1].isupper()]
    return st.builds(record, **{**fields, "kind": st.sampled_from(kinds) | TEXT})


ANY_FACT = st.one_of([facts_of(record) for record in TOPIC_OF_FACT])
IN_TIME = st.integers(0, rows.LATEST_AT - 1)


@st.composite
def batches(draw: st.DrawFn) -> list[Record]:
    """Records of some partitions, offsets growing with gaps, times of any month in any order."""
    found = []
    following: dict[tuple[str, int], int] = {}
    for fact in draw(st.lists(ANY_FACT, max_size=25)):
        place = TOPIC_OF_FACT[type(fact)], draw(st.integers(0, 2))
        offset = following.get(place, 0) + draw(st.integers(0, 3))
        following[place] = offset + 1
        timed = type(fact)(**{name: getattr(fact, name) for name in fact.__struct_fields__} | {"at": draw(IN_TIME)})
        found.append(Record(*place, offset, draw(INT64), timed))
    return found


@given(batches())
def test_every_batch_has_one_row_a_record(batch: list[Record]) -> None:
    """Nothing is dropped, doubled or refused, whatever the fields hold."""
    block = rows.events(batch)

    assert block.rows == len(batch)
    assert {len(column) for column in block.columns} <= {len(batch)}
    if batch:
        names = dict(zip(block.names, block.columns, strict=True))
        assert sorted(zip(names["topic"], names["partition"], names["offset"], strict=True)) == sorted(
            (record.topic, record.partition, record.offset) for record in batch
        )


@given(batches())
def test_the_same_records_have_the_same_rows(batch: list[Record]) -> None:
    """The row is a function of the record and its place: read twice, written the same."""
    assert rows.events(batch) == rows.events(list(batch))
    assert edges(batch) == edges(list(batch))


@given(batches())
def test_every_field_arrives_in_its_column(batch: list[Record]) -> None:
    """Row by row the columns hold what the facts hold, and defaults elsewhere."""
    block = rows.events(batch)
    told = {}
    for row in zip(*block.columns, strict=True):
        cells = dict(zip(block.names, row, strict=True))
        told[cells["topic"], cells["partition"], cells["offset"]] = cells
    for record in batch:
        cells = told[record.topic, record.partition, record.offset]
        columns = rows.COLUMNS_OF[type(record.row)]
        late = type(record.row) in rows.TOO_LATE and not record.row.run_seq
        for field, column in zip(record.row.__struct_fields__, columns, strict=True):
            told_elsewhere = late and column in ("run_id", "parent_run_id", "root_run_id")
            assert cells[column] == ("" if told_elsewhere else getattr(record.row, field))
        for column in set(block.names) - set(columns) - set(rows.POSITION) - {rows.ABOUT}:
            assert cells[column] == rows.DEFAULTS[column]
        assert cells.get(rows.ABOUT, "") == (record.row.run_id if late else "")


@given(batches())
def test_cuts_keep_order_and_never_span_months(batch: list[Record]) -> None:
    """However the inserts are interrupted, what is stored of a partition is all up to its highest offset."""
    parts = list(rows.inserts(batch))

    assert sum(len(part) for part in parts) == len(batch)
    seen: dict[tuple[str, int], list[int]] = {}
    for part in parts:
        assert len({rows.month(record.row.at) for record in part}) == 1
        for record in part:
            seen.setdefault((record.topic, record.partition), []).append(record.offset)
    wanted: dict[tuple[str, int], list[int]] = {}
    for record in batch:
        wanted.setdefault((record.topic, record.partition), []).append(record.offset)
    assert seen == wanted


@given(ANY_FACT)
def test_any_fact_is_mapped_or_told_why_not(fact: Fact) -> None:
    """The mapping never raises: a fact has a row, or a reason."""
    reason = rows.unmappable(fact)

    assert bool(reason) == (not 0 <= fact.at < rows.LATEST_AT)


@given(ANY_FACT)
def test_edges_of_any_fact(fact: Fact) -> None:
    """Each edge has a parent: an event, or a version of a key; and a cause when the fact has one."""
    found = edges_of(fact)

    assert [edge[0] for edge in found].count("cause") == bool(fact.causation_id)
    for relation, parent, key, version in found:
        assert relation
        assert isinstance(version, int)
        assert -(2**63) <= version < 2**63
        assert parent or relation in ("read", "wrote", "decided", "satisfied"), key


@settings(max_examples=30)
@given(st.integers(-(2**63), 2**63 - 1), TEXT)
def test_any_record_that_is_no_fact_has_a_row(stamp: int, reason: str) -> None:
    """Also with the oddest of timestamps."""
    record = rows.unreadable("bp.state", 1, 2, stamp, "undecodable", reason)

    assert 0 <= record.row.at < rows.LATEST_AT
    assert rows.events([record]).rows == 1
