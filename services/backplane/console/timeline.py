"""A run's lines on an axis of time on which idle stretches are cut short. Pure.

Lives here: where each line begins and ends on the axis. Not here: what a line says (``backplane.insight.wording``) or
how it is drawn. Laws: the axis never runs backwards, and equal times have one place. A stretch in which something was
under way is as long as it was, on one scale for all.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from backplane.insight.wording import Line

WIDTH: Final = 1_000
"""Of the whole axis."""
GAP_SHARE: Final = 0.03
"""Of the axis, what one cut stretch still takes; all of them together at most GAPS_SHARE."""
GAPS_SHARE: Final = 0.3
LONG: Final = 4.0
"""A stretch is cut when it is so many times longer than what it would be cut to."""


class Gap(NamedTuple):
    """A stretch in which nothing was under way."""

    start: int
    end: int

    @property
    def length(self) -> int:
        """Microseconds."""
        return self.end - self.start


class Axis:
    """Times to places from 0 to WIDTH."""

    def __init__(self, spans: Sequence[tuple[int, int]]) -> None:
        """``spans``: (begin, end) of everything that was under way."""
        merged = _merged(spans)
        self.start = merged[0][0] if merged else 0
        self.end = merged[-1][1] if merged else 0
        busy = sum(end - begin for begin, end in merged)
        idle = [Gap(before[1], after[0]) for before, after in pairwise(merged)]
        self.gaps = _cut(idle, busy)
        kept = self.end - self.start - sum(gap.length for gap in self.gaps)
        gap_width = min(WIDTH * GAP_SHARE, WIDTH * GAPS_SHARE / len(self.gaps)) if self.gaps else 0.0
        scale = (WIDTH - gap_width * len(self.gaps)) / kept if kept > 0 else 0.0
        self._times = [self.start]
        self._places = [0.0]
        for gap in self.gaps:
            before = self._places[-1] + (gap.start - self._times[-1]) * scale
            self._times += [gap.start, gap.end]
            self._places += [before, before + gap_width]
        self._scale = scale

    def place(self, at: int) -> float:
        """Where a time lies; those before the first and after the last at the ends."""
        at = min(max(at, self.start), self.end)
        index = bisect_right(self._times, at) - 1
        begin, place = self._times[index], self._places[index]
        if index + 1 < len(self._times) and index % 2 == 1:  # within a cut stretch
            share = (at - begin) / (self._times[index + 1] - begin)
            return place + share * (self._places[index + 1] - place)
        return min(float(WIDTH), place + (at - begin) * self._scale)

    def gap_before(self, at: int, since: int) -> Gap | None:
        """The cut stretch that lies between two times, if any."""
        return next((gap for gap in self.gaps if since <= gap.start and gap.end <= at), None)


def axis(lines: Sequence[Line]) -> Axis:
    """The axis of a run's lines, those under them included."""
    spans = [(line.at, line.at + (line.duration_us or 0)) for line in lines]
    spans += [(under.at - (under.duration_us or 0), under.at) for line in lines for under in line.under]
    return Axis(spans)


def _merged(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for begin, end in sorted(spans):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((begin, end))
    return merged


def _cut(idle: Sequence[Gap], busy: int) -> list[Gap]:
    """Those worth cutting: longer than LONG times what is left of them, measured by what was busy and by the rest."""
    kept = busy + sum(gap.length for gap in idle)
    cut: set[Gap] = set()
    for gap in sorted(idle, key=lambda one: -one.length):
        if gap.length <= LONG * GAP_SHARE * kept:
            break
        kept -= gap.length
        cut.add(gap)
    return [gap for gap in idle if gap in cut]
