"""The validator takes every example and refuses every counterexample for the reason given."""

from __future__ import annotations

from typing import Any

import pytest

from agents_sdk import schemas
from backplane.topics.examples import Counterexample, Example, counterexamples, examples
from backplane.topics.validate import Refused, check, problems


@pytest.mark.parametrize("example", list(examples()), ids=lambda example: f"{example.record}-{example.case}")
def test_example_is_accepted(example: Example) -> None:
    """What is shown as an example is what the contract describes."""
    assert problems(schemas.latest(example.record), example.datum) == []


@pytest.mark.parametrize("wrong", list(counterexamples()), ids=lambda wrong: f"{wrong.record}-{wrong.case}")
def test_counterexample_is_refused_at_its_field(wrong: Counterexample) -> None:
    """What must be refused is refused, and for the field that is wrong, not for some other slip in the example."""
    assert len(wrong.refused_because) > 10
    with pytest.raises(Refused) as refused:
        check(wrong.record, wrong.datum)
    assert refused.value.problems[0].path == wrong.path


def datum(record: str, case: str) -> dict[str, Any]:
    return next(example.datum for example in examples(record) if example.case == case)


@pytest.mark.parametrize("value", [None, [], "text", 3, True])
def test_datum_that_is_no_object_is_refused(value: Any) -> None:
    """A record is an object."""
    assert [problem.path for problem in problems(schemas.latest("Reply"), value)] == [""]


def test_all_problems_are_told_at_once() -> None:
    """Somebody mending a datum sees everything that is wrong with its fields in one go."""
    wrong = datum("StateEvent", "first-write") | {"version": "1", "size": -4, "colour": "red"}
    paths = {problem.path for problem in problems(schemas.latest("StateEvent"), wrong)}
    assert paths == {"version", "size", "colour"}


@pytest.mark.parametrize(("value", "fits"), [(2**31 - 1, True), (2**31, False), (2**63, False)])
def test_int_is_32_bits(value: int, fits: bool) -> None:
    """What Avro could not hold is refused, rather than cut."""
    assert (problems(schemas.latest("Reply"), datum("Reply", "ok-read") | {"version": 2**62}) == []) is True
    command = datum("Command", "set-state") | {"reply_partition": value}
    assert (problems(schemas.latest("Command"), command) == []) is fits


def test_validator_reads_the_schema_not_a_list_of_its_own() -> None:
    """A field that the schema gains is known at once, and one it loses is unknown at once."""
    schema = {**schemas.latest("Reply")}
    known = [each for each in schema["fields"] if each["name"] != "detail"]
    schema["fields"] = [*known, {"name": "colour", "type": "string"}]
    with_colour = datum("Reply", "ok-never-written") | {"colour": "red"}
    assert problems(schema, with_colour) == []
    paths = {problem.path for problem in problems(schema, datum("Reply", "ok-published"))}
    assert paths == {"colour", "detail"}
