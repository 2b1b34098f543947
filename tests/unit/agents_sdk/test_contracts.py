"""Contracts as they are declared: schema, subject, and what is refused at the author's line."""

from __future__ import annotations

import threading
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel

from agents_sdk import MessageContract, StateContract
from agents_sdk.wire.registry import text
from backplane.topics.contracts import declared
from tests.support import contract_module


class Findings(BaseModel):
    sources: list[str]
    units: int = 0


def test_a_model_becomes_its_json_schema() -> None:
    """As canonical JSON, so that the same type is the same contract; what has a default need not be there."""
    body = StateContract("findings", Findings, reducer="merge").body(7)
    assert (body.target, body.pattern, body.reducer, body.schema_id) == ("state", "findings", "merge", 7)
    schema = msgspec.json.decode(body.schema)
    assert schema["required"] == ["sources"]
    assert text(schema) == body.schema
    assert MessageContract("a.*", dict[str, int]).body().reducer == ""


def test_every_pattern_has_a_subject_of_its_own() -> None:
    """Characters that a subject does not take are written out; no two patterns meet."""
    subjects = {StateContract(pattern, int).subject for pattern in ("a/b", "a.b", "a~2fb", "a*", "ä", "𝒳")}
    assert len(subjects) == 6
    assert "bp.contract.state.a~2fb" in subjects
    assert MessageContract("a.b", int).subject == "bp.contract.message.a.b"


@pytest.mark.parametrize("wrong", [{"pattern": ""}, {"pattern": "x" * 513}, {"reducer": "sum"}])
def test_wrong_use_is_refused_at_its_line(wrong: dict[str, Any]) -> None:
    """With what is allowed."""
    with pytest.raises(ValueError, match="use"):
        StateContract(**{"pattern": "k", "type_": int, **wrong})


def test_a_type_without_a_schema_names_the_contract() -> None:
    """The error says which contract it is."""
    with pytest.raises(TypeError, match=r"StateContract\('locks'\)"):
        StateContract("locks", threading.Lock).body()


def test_contracts_of_a_module_are_its_globals_and_those_in_its_lists() -> None:
    """Each once, in order."""
    assert [one.pattern for one in declared(contract_module)] == ["tc/findings", "tc/log*", "tc/count", "tc.found"]
