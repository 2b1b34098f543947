"""Reducers and concurrent writers: any interleaving gives a state that the oracle reaches; nothing is lost."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents_sdk.core import ids
from agents_sdk.core.ledger.reducers import REDUCERS, Irreducible, reduced
from tests.properties.test_ledger_laws import LAW
from tests.support.joining import joined
from tests.support.ledger_desk import Desk

NUMBERS = st.integers(-(2**40), 2**40)
LEAVES = st.one_of(st.none(), st.booleans(), NUMBERS, st.floats(-1e9, 1e9), st.text(max_size=4))
OBJECTS = st.recursive(
    LEAVES, lambda inner: st.dictionaries(st.sampled_from("abcä"), inner, max_size=3) | st.lists(inner, max_size=2)
)
OPERANDS = {
    "append": OBJECTS,
    "merge": st.dictionaries(st.sampled_from("abcä"), OBJECTS, max_size=3),
    "counter": NUMBERS,
    "set-union": st.lists(OBJECTS, max_size=3) | LEAVES,
    "replace": OBJECTS,
}


@st.composite
def schedules(draw: st.DrawFn, reducer: str) -> list[tuple[int, Any]]:
    """(writer, operand) in the order the ledger gets them: any merge of the writers' own orders."""
    return draw(st.lists(st.tuples(st.integers(0, 3), OPERANDS[reducer]), min_size=1, max_size=12))


CASES = st.sampled_from(sorted(OPERANDS)).flatmap(lambda name: st.tuples(st.just(name), schedules(name)))


def written(reducer: str, schedule: list[tuple[int, Any]]) -> list[Any]:
    """The facts of the writes, by the ledger's core."""
    desk = Desk()
    desk.start()
    desk.send("ApplyContract", run_id="", target="state", pattern="k*", schema="{}", reducer=reducer)
    steps = [
        desk.send("SetState", key="key", value=json.dumps(operand), agent=f"w{writer}") for writer, operand in schedule
    ]
    return [step.facts[0] for step in steps]


@LAW
@given(CASES)
def test_every_interleaving_gives_what_the_oracle_reaches(case: tuple[str, list[tuple[int, Any]]]) -> None:
    """Write by write, the value is the naive one; every write is a version, with its writer and what it gave."""
    reducer, schedule = case
    before = ""
    for version, (fact, (writer, operand)) in enumerate(zip(written(reducer, schedule), schedule, strict=True), 1):
        text = json.dumps(operand)
        after = text if reducer == "replace" else joined(reducer, before, text)
        assert json.loads(fact.value) == json.loads(after)
        assert (fact.version, fact.agent) == (version, f"w{writer}")
        assert json.loads(fact.operand or fact.value) == operand
        before = fact.value


@LAW
@given(CASES, st.randoms(use_true_random=False))
def test_no_update_is_lost(case: tuple[str, list[tuple[int, Any]]], chance: Any) -> None:
    """Sum, elements or entries are those of all writers; and the same in another order that keeps each writer's own."""
    reducer, schedule = case
    queues: dict[int, list[Any]] = defaultdict(list)
    for writer, operand in schedule:
        queues[writer].append(operand)
    other = [(writer, None) for writer, _ in schedule]
    chance.shuffle(other)
    left = {writer: iter(operands) for writer, operands in queues.items()}
    shuffled = [(writer, next(left[writer])) for writer, _ in other]
    values = [json.loads(written(reducer, order)[-1].value) for order in (schedule, shuffled)]
    for value, order in zip(values, (schedule, shuffled), strict=True):
        operands = [operand for _, operand in order]
        if reducer == "counter":
            assert value == sum(operands)
        elif reducer == "append":
            assert multiset(value) == multiset(operands)
        elif reducer == "set-union":
            given_ = [e for o in operands for e in (o if isinstance(o, list) else [o])]
            assert multiset(value) == Counter(dict.fromkeys(multiset(given_), 1))
        elif reducer == "merge":
            for name in {name for operand in operands for name in operand}:
                last = next(operand[name] for operand in reversed(operands) if name in operand)
                assert (name in value) == (last is not None)
        else:
            assert value == operands[-1]
    if reducer in ("counter", "append", "set-union"):
        assert multiset(values[0]) == multiset(values[1])


def multiset(value: Any) -> Counter[str]:
    return Counter(json.dumps(one, sort_keys=True) for one in (value if isinstance(value, list) else [value]))


@LAW
@given(st.sampled_from(sorted(REDUCERS)), OBJECTS, OBJECTS)
def test_reducing_is_total_canonical_and_repeatable(reducer: str, before: Any, operand: Any) -> None:
    """Any two values give canonical JSON or the one error a refusal is made of; the same ones the same bytes."""
    texts = json.dumps(before), json.dumps(operand)
    if reducer in ("append", "set-union") and not isinstance(before, list):
        joinable = before is None
    else:
        joinable = reducer != "counter" or all(
            type(one) in (int, float) for one in (0 if before is None else before, operand)
        )
    if not joinable:
        with pytest.raises(Irreducible, match=r"\w"):
            reduced(reducer, *texts)
        return
    after = reduced(reducer, *texts)
    assert after == reduced(reducer, *texts)
    assert after == ids.canonical(json.loads(after))
