"""Laws of an agent's inbox: order within a run, width over runs, and an offset that never passes unfinished work."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents_sdk.lanes import Lanes, OffsetTracker


class NaiveOffsets:
    """The oracle: remembers everything."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.finished: set[int] = set()

    def committable(self) -> int | None:
        unfinished = [offset for offset in self.begun if offset not in self.finished]
        if unfinished:
            return min(unfinished)
        return max(self.begun) + 1 if self.begun else None


@given(st.data())
def test_committable_offset_is_the_lowest_unfinished_one(data: st.DataObject) -> None:
    """Whatever the gaps and whatever order work ends in, the tracker agrees with an oracle that scans all."""
    tracker, oracle = OffsetTracker(), NaiveOffsets()
    offset = data.draw(st.integers(0, 1000))
    for _ in range(data.draw(st.integers(0, 40))):
        unfinished = [begun for begun in oracle.begun if begun not in oracle.finished]
        ends: bool = data.draw(st.booleans())
        if unfinished and ends:
            ended = data.draw(st.sampled_from(unfinished))
            tracker.finish(ended)
            oracle.finished.add(ended)
        else:
            offset += data.draw(st.integers(1, 3))
            assert tracker.add(offset)
            oracle.begun.append(offset)

        assert tracker.committable() == oracle.committable()
        assert tracker.unfinished == len(oracle.begun) - len(oracle.finished)


def test_offset_that_was_not_begun_or_ended_before_cannot_end() -> None:
    """A miscount would commit past work that is still to do."""
    tracker = OffsetTracker()
    tracker.add(5)
    tracker.add(9)
    tracker.finish(9)

    for offset in (4, 9, 10):
        with pytest.raises(KeyError):
            tracker.finish(offset)

    assert tracker.committable() == 5


def test_offset_read_again_is_not_begun_again() -> None:
    """A consumer that is moved back reads what is being worked on."""
    tracker = OffsetTracker()
    assert tracker.add(5)

    assert not tracker.add(5)
    assert not tracker.add(3)
    assert tracker.unfinished == 1


@given(st.integers(1, 4), st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans()), max_size=60), st.randoms())
def test_lanes_keep_order_within_a_run_and_the_width_over_runs(
    width: int, steps: list[tuple[str, bool]], random: object
) -> None:
    """Any interleaving of arrivals and endings starts each run's items in order, one at a time, and all of them."""
    lanes: Lanes[int] = Lanes(width)
    arrived: dict[str, list[int]] = {}
    started: dict[str, list[int]] = {}
    running: list[str] = []

    def start_all() -> None:
        while (begun := lanes.start()) is not None:
            run, item = begun
            assert run not in running
            running.append(run)
            started.setdefault(run, []).append(item)
        assert len(running) == lanes.busy <= width
        assert lanes.waiting == sum(map(len, arrived.values())) - sum(map(len, started.values()))
        idle = {run for run in arrived if len(started.get(run, ())) < len(arrived[run])} - set(running)
        assert len(running) == width or not idle

    for number, (run, ends) in enumerate(steps):
        if ends and running:
            lanes.finish(running.pop(random.randrange(len(running))))  # type: ignore[attr-defined]  # a Random
        else:
            lanes.add(run, number)
            arrived.setdefault(run, []).append(number)
        start_all()
    while running:
        lanes.finish(running.pop())
        start_all()

    assert started == arrived
    assert lanes.waiting == 0


@given(st.integers(1, 3), st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 3)), max_size=60), st.randoms())
def test_what_waits_takes_no_room(width: int, steps: list[tuple[str, int]], random: object) -> None:
    """Any interleaving: there is work as long as fewer than ``width`` runs are busy and do not wait; order is kept."""
    lanes: Lanes[int] = Lanes(width)
    arrived: dict[str, list[int]] = {}
    started: dict[str, list[int]] = {}
    running: dict[str, int] = {}
    """Run → for how many it waits."""

    def start_all() -> None:
        while True:
            room = sum(not waits for waits in running.values()) < width
            ready = [run for run in arrived if run not in running and len(started.get(run, ())) < len(arrived[run])]
            begun = lanes.start()
            assert (begun is not None) == (room and bool(ready))
            if begun is None:
                return
            assert begun[0] in ready
            running[begun[0]] = 0
            started.setdefault(begun[0], []).append(begun[1])

    for number, (run, what) in enumerate(steps):
        chosen = random.choice(sorted(running)) if running else ""  # type: ignore[attr-defined]  # a Random
        if what == 1 and chosen:
            lanes.wait(chosen)
            running[chosen] += 1
        elif what == 2 and running.get(chosen):
            lanes.resume(chosen)
            running[chosen] -= 1
        elif what == 3 and chosen and not running[chosen]:
            lanes.finish(chosen)
            del running[chosen]
        else:
            lanes.add(run, number)
            arrived.setdefault(run, []).append(number)
        start_all()
        assert lanes.waits == sum(bool(waits) for waits in running.values())
    assert all(begun == arrived[run][: len(begun)] for run, begun in started.items())


def test_dropped_items_are_never_started_and_their_lane_goes_on() -> None:
    """From a lane that waits, from one that is busy, and from one that is empty afterwards."""
    lanes: Lanes[str] = Lanes(2)
    for run, item in (("a", "a1"), ("a", "a2"), ("a", "a3"), ("b", "b1"), ("c", "c1")):
        lanes.add(run, item)
    assert lanes.start() == ("a", "a1")
    assert lanes.drop("a", lambda item: item == "a2") == ["a2"]
    assert lanes.drop("b", lambda item: True) == ["b1"]
    assert lanes.drop("nobody", lambda item: True) == []
    assert lanes.waiting == 2
    assert lanes.start() == ("c", "c1")
    lanes.finish("a")
    assert lanes.start() == ("a", "a3")
    assert lanes.drop("a", lambda item: True) == []
    lanes.finish("a")
    lanes.add("b", "b2")
    assert lanes.start() == ("b", "b2")


def test_runs_take_turns() -> None:
    """A run with much to do does not keep others waiting until it is through."""
    lanes: Lanes[str] = Lanes(1)
    for item in ("a1", "a2", "a3"):
        lanes.add("a", item)
    lanes.add("b", "b1")
    order = []
    while (begun := lanes.start()) is not None:
        order.append(begun[1])
        lanes.finish(begun[0])

    assert order == ["a1", "b1", "a2", "a3"]


def test_width_below_one_is_refused() -> None:
    """Nothing would ever be done."""
    with pytest.raises(ValueError, match="width"):
        Lanes(0)
