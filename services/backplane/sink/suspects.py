"""Which records the sink was at when its process died, and which one of them kills. Noted in a file.

A record may kill the process that stores it: a crash of the engine's parser, the out-of-memory killer. The batch it is
in is noted before it is touched. After some deaths at the same records they are taken apart: batches of a part of them,
one at a time. So each further death leaves a smaller part. A record at which the process died alone is not touched
again. It becomes a dead letter, as one that cannot be read, and the others are stored.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from agents_sdk.deaths import ENDED, LIMIT, killed_for_memory, points_of, process_began

log = logging.getLogger("backplane.sink")

PARTS: Final = 32
"""Into so many batches suspected records are cut: four deaths find one of 50,000."""
Place = tuple[str, int]
Ranges = Mapping[Place, tuple[int, int]]
"""Topic and partition → the first and the last offset of a batch there."""


class SuspectRange(NamedTuple):
    """Consecutive records, one of which may kill."""

    first: int
    last: int
    points: int
    """Of the deaths at them; see ``agents_sdk.deaths``."""


class Suspicions(NamedTuple):
    """Knowledge after the deaths so far."""

    suspected: dict[Place, SuspectRange]
    deadly: frozenset[tuple[str, int, int]]
    """Topic, partition and offset of each record that is not touched again."""


NOTHING: Final = Suspicions({}, frozenset())


def after_death(known: Suspicions, under_way: Iterable[Ranges], points: int) -> Suspicions:
    """Knowledge after the process has died at these batches; records that were not in them are suspected no more.
    Pure."""
    suspected: dict[Place, SuspectRange] = {}
    at: dict[Place, tuple[int, int]] = {}
    for ranges in under_way:
        for place, (first, last) in ranges.items():
            low, high = at.get(place, (first, last))
            at[place] = min(first, low), max(last, high)
    for place, (first, last) in at.items():
        one = known.suspected.get(place, SuspectRange(first, last, 0))
        low, high = max(first, one.first), min(last, one.last)
        both = low <= high
        suspected[place] = SuspectRange(low, high, one.points + points) if both else SuspectRange(first, last, points)
    deadly = {(*place, at[place][0]) for place in at if len(at) == 1 and at[place][0] == at[place][1]}
    deadly = {one for one in deadly if suspected[one[0], one[1]].points >= LIMIT}
    for topic, partition, _ in deadly:
        del suspected[topic, partition]
    return Suspicions(suspected, known.deadly | deadly)


def taken_apart(known: Suspicions) -> dict[Place, SuspectRange]:
    """The records that are stored a part at a time."""
    return {place: one for place, one in known.suspected.items() if one.points >= LIMIT}


def rows_of_a_part(known: Suspicions) -> int:
    """How many records a batch may have now; 0: as many as ever."""
    count = sum(one.last - one.first + 1 for one in taken_apart(known).values())
    return -(-count // PARTS)


def without_stored(known: Suspicions, following: Mapping[Place, int]) -> Suspicions:
    """Suspects that remain when all below these offsets is stored. Pure."""
    left = {place: one for place, one in known.suspected.items() if one.last >= following.get(place, 0)}
    deadly = frozenset(one for one in known.deadly if one[2] >= following.get(one[:2], 0))
    return Suspicions(left, deadly)


class Notes:
    """The file of one sink. For several threads. Where it cannot be written, the sink works without."""

    def __init__(self, path: Path) -> None:
        """Reads what a predecessor was at; that counts as a death there, unless it ended in order."""
        self._path = path
        self._lock = threading.Lock()
        self._under_way: dict[int, Ranges] = {}
        self._number = 0
        self.known = NOTHING
        try:
            self.known = _read(path)
        except FileNotFoundError:
            log.debug("no sink was here before")
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            log.warning("what the sink died at before is not known: %s", error)
        self._write()

    def begin(self, ranges: Ranges) -> int:
        """A batch is touched; the number to end it by."""
        with self._lock:
            self._number += 1
            self._under_way[self._number] = ranges
            self._write()
            return self._number

    def end(self, number: int) -> None:
        """It is not any more."""
        with self._lock:
            self._under_way.pop(number, None)
            self._write()

    def stored(self, following: Mapping[Place, int]) -> None:
        """All below these offsets is stored."""
        if self.known != NOTHING:
            with self._lock:
                self.known = without_stored(self.known, following)
                self._write()

    def ending(self) -> None:
        """The process ends for a reason of its own."""
        with self._lock:
            self._under_way.clear()
            self._write()

    def _write(self) -> None:
        said = {
            "process": [os.getpid(), process_began(), killed_for_memory()],
            "under_way": [_listed(ranges) for ranges in self._under_way.values()],
            "suspected": [[*place, *one] for place, one in self.known.suspected.items()],
            "deadly": sorted(self.known.deadly),
        }
        try:
            # replaced, so that it is whole whenever the process ends; not synced: the kernel outlives the process
            made = self._path.with_suffix(".new")
            made.write_text(json.dumps(said))
            made.replace(self._path)
        except OSError as error:
            log.warning("what the sink is at is not noted: %s", error)


def _listed(ranges: Ranges) -> list[list[Any]]:
    return [[*place, first, last] for place, (first, last) in ranges.items()]


def _read(path: Path) -> Suspicions:
    said = json.loads(path.read_text())
    known = Suspicions(
        {(topic, partition): SuspectRange(*one) for topic, partition, *one in said["suspected"]},
        frozenset((topic, partition, offset) for topic, partition, offset in said["deadly"]),
    )
    pid, began, kills = said["process"]
    under_way = [{(topic, number): (first, last) for topic, number, first, last in one} for one in said["under_way"]]
    if not under_way or (pid, began) == (os.getpid(), process_began()):
        return known
    points = points_of(os.environ.get(ENDED, ""), pid, killed_for_memory() > kills)
    return after_death(known, under_way, points)


def ranges_of(places: Iterable[tuple[str, int, int]]) -> dict[Place, tuple[int, int]]:
    """The ranges that records at these places span."""
    found: dict[Place, tuple[int, int]] = {}
    for topic, partition, offset in places:
        first, last = found.get((topic, partition), (offset, offset))
        found[topic, partition] = min(first, offset), max(last, offset)
    return found


class NoNotes(Notes):
    """Where nothing is noted: what a death was at is not known."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way = {}
        self._number = 0
        self.known = NOTHING

    def _write(self) -> None:
        return
