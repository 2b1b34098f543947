"""A record that kills the sink is found among all that were in its batch, and no other is given up for it."""

from __future__ import annotations

import os
import random
import threading
from pathlib import Path

import pytest

from agents_sdk.core.facts import DecisionEvent
from agents_sdk.deaths import BY_ITSELF, BY_SOMEBODY
from backplane.sink.fence import Place
from backplane.sink.ingest import Ingest, IngestPorts
from backplane.sink.source import FetchResult
from backplane.sink.suspects import NOTHING, Notes, Suspicions, after_death, ranges_of, rows_of_a_part, without_stored
from tests.unit.sink.test_ingest import MemoryLetters, MemorySource, MemoryStore, Message, fact

TOPIC = "bp.decisions"


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("points", [BY_ITSELF, BY_SOMEBODY])
def test_the_record_that_kills_is_told_apart(seed: int, points: int) -> None:
    """In any backlog, over any partitions, within a dozen deaths, others in between; all else is stored."""
    chance = random.Random(seed)
    count = chance.choice((1, 2, 33, 1_000, 20_000))
    log = [(TOPIC, chance.randrange(3), offset) for offset in range(count)]
    bad = chance.choice(log)
    known, stored, deaths = NOTHING, 0, 0
    letters: set[tuple[str, int, int]] = set()
    following: dict[Place, int] = {}
    while stored < len(log):
        size = rows_of_a_part(known) or chance.randrange(1, 50_000)
        batch = log[stored : stored + size]
        letters |= known.deadly & set(batch)
        touched = [one for one in batch if one not in known.deadly]
        if bad in touched or (chance.random() < 0.01 and deaths < 3):
            known, deaths = after_death(known, [ranges_of(touched)], points), deaths + 1
            continue
        stored += len(batch)
        following |= {(topic, partition): offset + 1 for topic, partition, offset in batch}
        known = without_stored(known, following)
    assert letters == {bad}
    assert deaths <= (12 if points == BY_ITSELF else 40)
    assert known == Suspicions({}, frozenset())


class Backlog(MemorySource):
    """Some records; when all are taken and written, the sink is to stop."""

    def __init__(self, log: list[Message], stop: threading.Event) -> None:
        super().__init__()
        self.left = log
        self.stop = stop
        self.ingest: Ingest | None = None

    def fetch(self, max_rows: int, max_bytes: int, linger_s: float) -> FetchResult:
        taken, self.left = self.left[:max_rows], self.left[max_rows:]
        if not taken and self.ingest is not None and not self.ingest._handed.unfinished_tasks:
            self.stop.set()
        return FetchResult(taken, {})  # type: ignore[arg-type]  # what is asked of a message


def lives(path: Path, store: MemoryStore, log: list[Message]) -> str:
    """A sink from its start to its end, in a process of its own: the offsets of its letters; empty: it was killed."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        stop, letters = threading.Event(), MemoryLetters()
        source = Backlog(log, stop)
        source.ingest = Ingest(source, letters, lambda: IngestPorts(store, lambda v: v), stop, notes=Notes(path))
        source.ingest.run()
        os.write(writer, str([offset for offset, _ in letters.put_aside]).encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as said:
        return said.read()


def test_a_sink_that_is_killed_by_a_record_stores_the_others(tmp_path: Path) -> None:
    """For real: the process ends in the middle of preparing the batch, whatever started it again."""
    log = [Message(offset, fact(offset)) for offset in range(5, 105)]

    class Deadly(MemoryStore):
        def prepare(self, records):  # type: ignore[no-untyped-def]
            if any(one.offset == 77 and isinstance(one.row, DecisionEvent) for one in records):
                os._exit(9)
            return super().prepare(records)

    said, starts = "", 0
    while not said:
        starts += 1
        assert starts < 15
        said = lives(tmp_path / "at.json", Deadly(), log)
    assert said == "[77]"
    assert starts > 2


def test_an_end_in_order_is_no_death(tmp_path: Path) -> None:
    """And notes that cannot be read are none."""
    path = tmp_path / "at.json"
    for _ in range(5):
        notes = Notes(path)
        notes.begin({(TOPIC, 0): (1, 9)})
        notes.ending()
    assert Notes(path).known == NOTHING
    path.write_text("{")
    assert Notes(path).known == NOTHING
