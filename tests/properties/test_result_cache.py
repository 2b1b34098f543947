"""Laws of the result cache, against a naive oracle that remembers everything."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backplane.executor.cache import OVERHEAD, CacheEntry, ResultCache

LIMIT = 3 * OVERHEAD + 60
moves = st.lists(
    st.tuples(
        st.sampled_from(["put", "get", "get"]),
        st.sampled_from("abcdef"),
        st.integers(0, 90),  # the size of a result
        st.floats(0, 4),  # seconds since the move before
        st.floats(0.5, 10),
    ),
    max_size=60,
)


@given(moves)
def test_what_is_given_was_put_last_and_is_not_too_old(story: list[tuple[str, str, int, float, float]]) -> None:
    """Oracle: everything put, in order of its last use; dropped from the oldest on when the limit is passed."""
    cache, now = ResultCache(LIMIT), 0.0
    kept: dict[str, tuple[CacheEntry, float, int]] = {}  # in the order of the last use
    for number, (move, key, size, later, ttl) in enumerate(story):
        now += later
        if move == "put":
            value = CacheEntry("ä" * (size // 2), f"p{number}")
            cache.put(key, value, now, ttl)
            kept.pop(key, None)
            bytes_ = len(value.result.encode()) + len(value.provider) + OVERHEAD
            if bytes_ <= LIMIT:
                while sum(each[2] for each in kept.values()) + bytes_ > LIMIT:
                    del kept[next(iter(kept))]
                kept[key] = (value, now + ttl, bytes_)
        else:
            known = kept.pop(key, None)
            if known is not None and now < known[1]:
                kept[key] = known
                assert cache.get(key, now) == known[0]
            else:
                assert cache.get(key, now) is None
        assert cache.bytes == sum(each[2] for each in kept.values()) <= LIMIT
