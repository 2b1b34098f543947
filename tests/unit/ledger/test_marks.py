"""At which records workers died: kept over the process's end, counted, and forgotten when they are dealt with."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from backplane.ledger.marks import PARTITIONS, Marks
from backplane.runtime.batch import Record


def dies_at(path: Path, partition: int, offset: int) -> None:
    """A process that notes the record, and is killed."""
    child = os.fork()
    if not child:
        Marks(path).begin(partition, offset)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)


def test_what_the_log_says_holds_for_a_worker_that_was_never_there(tmp_path: Path) -> None:
    """And for its successor, until the record is dealt with."""
    path = tmp_path / "marks"
    marks = Marks(path)
    marks.stand(3, 7, 2)
    assert marks.deadly(3, 7)
    marks.close()
    again = Marks(path)
    assert again.deadly(3, 7)
    again.forget(3)
    assert not again.deadly(3, 7)


def test_two_deaths_at_one_record_are_deadly(tmp_path: Path) -> None:
    """One may be chance. A worker that comes back finds both, though nothing was written on purpose."""
    path = tmp_path / "marks"
    dies_at(path, 3, 0)
    once = Marks(path)
    assert once.died == {3: (0, 1)}
    assert not once.deadly(3, 0)
    dies_at(path, 3, 0)
    # that child counted the first death, and noted the same record again
    twice = Marks(path)
    assert twice.deadly(3, 0)
    assert not twice.deadly(3, 1)
    assert not twice.deadly(2, 0)
    records = [Record(offset, 0, None, None, ()) for offset in (0, 1)]
    assert twice.deadly_of(3, records) == records[0]
    assert twice.deadly_of(2, records) is None
    assert Marks(path).deadly(3, 0), "it is deadly until it is dealt with, however often a worker starts"
    twice.forget(3)
    assert Marks(path).died == {}


def test_deaths_at_different_records_are_no_pattern(tmp_path: Path) -> None:
    """Kills by chance hit some record each time."""
    path = tmp_path / "marks"
    for offset in (7, 8, 7):
        dies_at(path, 0, offset)
    assert Marks(path).died == {0: (7, 1)}


def test_record_that_is_dealt_with_leaves_nothing(tmp_path: Path) -> None:
    """What ended is no death."""
    marks = Marks(tmp_path / "marks")
    marks.begin(1, 5)
    marks.end(1)
    assert Marks(tmp_path / "marks").died == {}


@pytest.mark.parametrize("partition", [PARTITIONS, 2**31 - 1])
def test_partitions_beyond_the_file_are_not_noted(tmp_path: Path, partition: int) -> None:
    """More partitions than anybody has: they have no circuit of last resort, and no exception either."""
    marks = Marks(tmp_path / "marks")
    marks.begin(partition, 1)
    marks.end(partition)
    marks.forget(partition)
    assert not marks.deadly(partition, 1)
