"""Values as authors have them become canonical JSON and back, or a typed error before anything is sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel

from agents_sdk import values
from agents_sdk.core import ids
from agents_sdk.errors import ContractBroken, InvalidCommand, Oversize
from agents_sdk.state import value_of

LIMIT = 1000


class Source(BaseModel):
    url: str
    rank: int = 0


class Findings(BaseModel):
    sources: list[Source]


@dataclass
class Plain:
    name: str
    inner: Any


@pytest.mark.parametrize(
    "value", [None, True, 1, -(2**63), 2**70, 1.5, "ä\U0001f600", [], {"b": 1, "a": [None]}, {"": {}}]
)
def test_json_values_become_the_canonical_text_of_the_core(value: Any) -> None:
    """The SDK and the ledger hash the same bytes."""
    text = values.to_json(value, LIMIT)

    assert text == ids.canonical(value)
    assert values.from_json(text) == value


def test_models_and_dataclasses_are_written_at_any_depth() -> None:
    """An author nests them as it suits."""
    value = {"list": [Plain("x", Source(url="u"))], "model": Findings(sources=[Source(url="v", rank=2)])}

    assert values.from_json(values.to_json(value, LIMIT)) == {
        "list": [{"name": "x", "inner": {"url": "u", "rank": 0}}],
        "model": {"sources": [{"url": "v", "rank": 2}]},
    }


def _endless() -> list[Any]:
    endless: list[Any] = []
    endless.append(endless)
    return endless


@pytest.mark.parametrize("value", [object(), {"a": {1, object()}}, Source, "\ud800", _endless(), {(1, 2): 3}])
def test_what_is_not_json_is_refused_with_the_ledgers_error(value: Any) -> None:
    """No surprise later: the call itself raises."""
    with pytest.raises(InvalidCommand, match="result is not JSON") as refused:
        values.to_json(value, LIMIT, "result")

    assert refused.value.fields == {"field": "result"}


def test_size_is_counted_in_bytes_and_the_limit_itself_is_allowed() -> None:
    """The limit is the ledger's: bytes of UTF-8, the quotes included."""
    assert len(values.to_json("ä" * 499, LIMIT).encode()) == LIMIT

    with pytest.raises(Oversize) as refused:
        values.to_json("ä" * 500, LIMIT)

    assert refused.value.fields == {"size": 1002, "limit": LIMIT}


def test_typed_read_gives_the_model() -> None:
    """As it was written."""
    assert value_of("k", '{"sources":[{"url":"u"}]}', 3, Findings) == Findings(sources=[Source(url="u")])
    assert value_of("k", "[1,2]", 3, tuple[int, ...]) == (1, 2)


def test_value_that_does_not_fit_names_the_field() -> None:
    """A reader learns what to fix, and where."""
    with pytest.raises(
        ContractBroken, match=r"state 'k' at version 3 does not fit Findings at 'sources\[1\]\.rank'"
    ) as broken:
        value_of("k", '{"sources":[{"url":"u"},{"url":"v","rank":"x"}]}', 3, Findings)

    assert broken.value.fields["path"] == "sources[1].rank"
    assert [error["path"] for error in broken.value.fields["errors"]] == ["sources[1].rank"]


@pytest.mark.parametrize(("version", "text"), [(0, "never written"), (4, "deleted at version 4")])
def test_key_without_a_value_is_none_untyped_and_an_error_typed(version: int, text: str) -> None:
    """None is no Findings."""
    assert value_of("k", "", version, None) is None

    with pytest.raises(ContractBroken, match=text):
        value_of("k", "", version, Findings)
