"""Laws of a snapshot's seal: what the ledger wrote is believed wherever the writing stopped, and nothing else is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backplane.ledger.pieces import Changes
from backplane.ledger.seals import NotProven, Seal

KEY = b"k" * 32
NAMES = st.sampled_from([f"0/run/{name}" for name in "abcd"])
entries = st.dictionaries(NAMES, st.none() | st.binary(min_size=1, max_size=3), max_size=4)
histories = st.lists(entries, min_size=1, max_size=5)


def written(history: list[dict[str, bytes | None]]) -> list[dict[str, bytes]]:
    """The store after each single write of the snapshots of a history; the first is the empty one."""
    seal, store, states = Seal(KEY, 0), dict[str, bytes](), [dict[str, bytes]()]
    for number, changed in enumerate(history):
        changes: Changes = [*changed.items(), ("0/meta", b"%d" % number)]
        for key, value in seal.seal(changes):
            if value is None:
                store.pop(key, None)
            else:
                store[key] = value
            states.append(dict(store))
    return states


@given(histories)
def test_what_was_written_is_believed_wherever_the_writing_stopped(history: list[dict[str, bytes | None]]) -> None:
    """After each write of each snapshot, by a ledger that starts then."""
    for state in written(history):
        left = dict(state)
        Seal(KEY, 0).check(left)
        assert not [key for key in left if "seal" in key]


@given(histories, histories, st.data())
def test_what_was_changed_is_found(
    history: list[dict[str, bytes | None]], more: list[dict[str, bytes | None]], data: st.DataObject
) -> None:
    """One entry that is another, gone, new, or as it was in an older snapshot; but for states that were there."""
    states = written([*history, *more])
    store = dict(states[-1])
    name = data.draw(st.sampled_from(sorted({*store, "0/run/a", "0/run/new"})))
    older = [state[name] for state in states if name in state]
    value = data.draw(st.none() | st.binary(min_size=1, max_size=3) | (st.sampled_from(older) if older else st.none()))
    if value is None:
        store.pop(name, None)
    else:
        store[name] = value
    meaning = [{key: each for key, each in state.items() if "seal" not in key} for state in states]
    if {key: each for key, each in store.items() if "seal" not in key} in meaning:
        return
    with pytest.raises(NotProven):
        Seal(KEY, 0).check(store)


@given(histories)
def test_after_a_forgery_the_next_snapshot_is_whole_again(history: list[dict[str, bytes | None]]) -> None:
    """What nobody proved to have written is removed by it, and it is believed."""
    store = dict(written(history)[-1]) | {"0/run/forged": b"x"}
    seal = Seal(KEY, 0)
    with pytest.raises(NotProven):
        seal.check(dict(store))
    for key, value in seal.seal([("0/run/a", b"1"), ("0/meta", b"m")]):
        if value is None:
            store.pop(key, None)
        else:
            store[key] = value
    left = dict(store)
    Seal(KEY, 0).check(left)
    assert left == {"0/run/a": b"1", "0/meta": b"m"}


def test_another_platforms_snapshot_is_not_believed() -> None:
    """Nor one without a seal."""
    state = written([{"0/run/a": b"1"}])[-1]
    with pytest.raises(NotProven):
        Seal(b"o" * 32, 0).check(dict(state))
    with pytest.raises(NotProven):
        Seal(KEY, 0).check({"0/run/a": b"1"})
    Seal(KEY, 0).check({})
