"""Laws of snapshot values in pieces: whole wherever the writing stopped, and nothing is left over."""

from __future__ import annotations

from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from backplane.ledger import pieces
from backplane.ledger.pieces import Changes, Pieces

KEYS = ("1/run/a", "1/run/b", "1/meta")
VALUES = st.one_of(st.none(), st.binary(min_size=1, max_size=40).map(lambda raw: b"\x80" + raw))
SNAPSHOTS = st.lists(
    st.tuples(st.dictionaries(st.sampled_from(KEYS), VALUES, min_size=1), st.one_of(st.none(), st.integers(0, 12))),
    max_size=8,
)
"""What each snapshot writes, and after how many records its worker dies; None: it does not."""


def write(table: dict[str, bytes], changes: Changes) -> None:
    for key, value in changes:
        if value is None:
            table.pop(key, None)
        else:
            table[key] = value


@given(SNAPSHOTS)
def test_each_key_has_its_old_value_or_its_new_one(snapshots: list[tuple[dict[str, bytes | None], int | None]]) -> None:
    """Whole, in every order of small, large and removed values; a successor goes on from what is there."""
    table: dict[str, bytes] = {}
    oracle: dict[str, bytes] = {}
    with patch.object(pieces, "PIECE_BYTES", 8):
        kept = Pieces(1)
        for values, dies_after in snapshots:
            before = dict(oracle)
            changes = kept.cut(list(values.items()))
            assert all(value is None or len(value) <= 40 for _, value in changes)
            write(table, changes[:dies_after])
            write(oracle, list(values.items()))
            if dies_after is not None and dies_after < len(changes):
                kept = Pieces(1)
            found = kept.join(dict(table))
            for key in KEYS:
                if dies_after is None or dies_after >= len(changes):
                    assert found.get(key) == oracle.get(key)
                assert found.get(key) in (before.get(key), oracle.get(key))
            oracle = found
        last = kept.cut([(key, None) for key in KEYS])
        write(table, last)
    assert table == {}


def test_a_value_whose_piece_is_lost_is_not_given_back_in_part() -> None:
    """The snapshot is unusable then, and the facts have it all."""
    table: dict[str, bytes] = {}
    with patch.object(pieces, "PIECE_BYTES", 8):
        write(table, Pieces(1).cut([("1/run/a", b"\x80" * 20)]))
        del table[next(key for key in table if key.endswith("/1"))]
        try:
            Pieces(1).join(table)
        except KeyError:
            return
    raise AssertionError("a part was taken for the whole")
