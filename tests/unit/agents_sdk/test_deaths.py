"""What a process was at when it died: kept over its end, weighed, and never blamed on work that was only beside it."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from agents_sdk.deaths import (
    BY_ITSELF,
    BY_SOMEBODY,
    HOPELESS,
    LIMIT,
    NOTHING,
    SLOTS,
    DeathCount,
    Deaths,
    after_death,
    points_of,
)

CRASHED = "1:-11"


def dies(path: Path, *names: str, far: int = 0, ended: str = "", memory_kills: int = 0) -> None:
    """A process that begins these pieces of work, and is killed."""
    child = os.fork()
    if not child:
        deaths = Deaths(path, ended=ended, memory_kills=memory_kills)
        for name in names:
            deaths.begin(name)
            deaths.got(name, far)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)


@contextmanager
def opened(path: Path, ended: str = "", memory_kills: int = 0) -> Iterator[Deaths]:
    with closing(Deaths(path, ended=ended, memory_kills=memory_kills)) as deaths:
        yield deaths


def seen(path: Path, name: str, ended: str = "", memory_kills: int = 0) -> DeathCount:
    """What the next process knows of a piece of work."""
    with opened(path, ended, memory_kills) as deaths:
        return deaths.of(name)


def crashed(path: Path) -> str:
    """That the process which noted last ended by itself."""
    return f"{int.from_bytes(path.read_bytes()[:8], 'little')}:1"


def test_two_ends_by_itself_are_deadly_and_ten_of_any_kind(tmp_path: Path) -> None:
    """An exit of its own is known from the supervisor; a kill may be an operator's."""
    own, killed = tmp_path / "own", tmp_path / "killed"
    dies(own, "a")
    assert seen(own, "a", ended=crashed(own))[:3] == (BY_ITSELF, 1, False)
    dies(own, "a")
    assert seen(own, "a", ended=crashed(own))[1:3] == (2, True)
    for _ in range(9):
        dies(killed, "a")
    assert not seen(killed, "a").deadly
    dies(killed, "a")
    assert seen(killed, "a")[1:3] == (10, True)


def test_a_kill_for_want_of_memory_counts_as_its_own(tmp_path: Path) -> None:
    """It is a SIGKILL as well; the kernel counts them."""
    path = tmp_path / "calls"
    dies(path, "a", memory_kills=1)
    dies(path, "a", memory_kills=2)
    assert seen(path, "a", memory_kills=3)[1:3] == (2, True)


def test_what_is_beside_the_deadly_work_is_suspected_and_cleared(tmp_path: Path) -> None:
    """Two died together often enough: neither is blamed before one of them was under way without the other."""
    path = tmp_path / "calls"
    for _ in range(10):
        dies(path, "good", "bad")
    with opened(path) as found:
        assert found.of("good").suspected
        assert found.of("bad").suspected
    dies(path, "bad", "new")
    with opened(path) as found:
        assert found.of("bad").deadly
        assert found.of("good").suspected
        assert not found.of("new").suspected
        found.begin("good")
        found.end("good")
        assert found.of("good") == NOTHING


def test_work_that_cannot_be_told_apart_is_given_up_in_the_end(tmp_path: Path) -> None:
    """However it is done, nothing is tried for ever."""
    path = tmp_path / "calls"
    deaths = 0
    while not seen(path, "a").deadly:
        dies(path, "a", "b")
        deaths += 1
    assert deaths == HOPELESS
    assert seen(path, "b").deadly


def test_work_that_gets_further_each_time_is_not_deadly(tmp_path: Path) -> None:
    """A long handler may meet many kills. One that always dies at the same place is what kills."""
    path = tmp_path / "calls"
    for far in range(1, 10):
        dies(path, "a", far=far)
        assert not seen(path, "a").suspected
        dies(path, "a", far=far - 1)
    assert not seen(path, "a").deadly
    for _ in range(LIMIT - 2):
        dies(path, "a", far=9)
    assert seen(path, "a").deadly


def test_an_end_in_order_is_no_death(tmp_path: Path) -> None:
    """Whether the process stops, or ends because Kafka went away."""
    path = tmp_path / "calls"
    for _ in range(5):
        with opened(path) as deaths:
            deaths.begin("a")
            deaths.ending()
    for _ in range(5):
        with opened(path) as deaths:
            deaths.begin("a")
            deaths.end("a", done=False)
    assert seen(path, "a") == NOTHING


def test_a_process_that_is_replaced_by_itself_has_not_died(tmp_path: Path) -> None:
    """``exec`` keeps the process, and what it was at was given up before."""
    path = tmp_path / "calls"
    for _ in range(5):
        with opened(path) as deaths:
            deaths.begin("a")
    assert seen(path, "a") == NOTHING


def test_notes_belong_to_one_living_process(tmp_path: Path) -> None:
    """Who opens them as well would take what is under way there for what a dead one was at."""
    path = tmp_path / "calls"
    with opened(path) as deaths:
        deaths.begin("a")
        with pytest.raises(BlockingIOError), opened(path):
            pass


def test_more_work_than_there_is_room_for_is_done_without_notes(tmp_path: Path) -> None:
    """And what ends makes room."""
    with opened(tmp_path / "calls") as deaths:
        for number in range(SLOTS + 10):
            deaths.begin(str(number))
        deaths.end("0")
        deaths.begin("new")
        deaths.end("no such work")


@pytest.mark.parametrize(
    ("ended", "short", "points"),
    [
        ("7:1", False, BY_ITSELF),
        ("7:-11", False, BY_ITSELF),
        ("7:-9", False, BY_SOMEBODY),
        ("7:-9", True, BY_ITSELF),
        ("8:1", False, BY_SOMEBODY),
        ("", False, BY_SOMEBODY),
        ("7:x", False, BY_SOMEBODY),
    ],
)
def test_what_a_death_weighs(ended: str, short: bool, points: int) -> None:
    """What is said of another process says nothing."""
    assert points_of(ended, 7, short) == points


@pytest.mark.parametrize("seed", range(20))
def test_whatever_runs_beside_it_deadly_work_is_found_and_nothing_else(seed: int) -> None:
    """Worlds with one piece of work that kills, and others that come, end and are begun again; suspected work runs by
    itself, as ``apart`` has it."""
    chance = random.Random(seed)
    known: dict[bytes, DeathCount] = {}
    bad, deaths = b"bad", 0
    while not known.get(bad, NOTHING).deadly:
        others = {str(chance.randrange(30)).encode() for _ in range(chance.randrange(20))}
        waits = [name for name in sorted({bad, *others}) if known.get(name, NOTHING).points]
        apart = any(one.suspected for one in known.values())
        alone = {chance.choice(waits)} if waits else set()
        running = {name for name in {bad, *others} if not apart or name in alone or name not in waits}
        if bad not in running:
            for name in running:  # they end well
                known.pop(name, None)
            continue
        known |= after_death({name: (known.get(name, NOTHING), 0) for name in running}, BY_ITSELF, 0)
        deaths += 1
        for name in running - {bad}:
            if chance.random() < 0.5:
                known.pop(name, None)
    assert deaths <= 4
    assert [name for name, one in known.items() if one.deadly] == [bad]
    assert known[bad].points >= LIMIT


async def test_suspected_work_is_under_way_by_itself(tmp_path: Path) -> None:
    """Other work goes on beside it."""
    path = tmp_path / "calls"
    for _ in range(LIMIT):
        dies(path, "a", "b")
    running: list[str] = []

    async def work(deaths: Deaths, name: str, ends: asyncio.Event) -> None:
        async with deaths.apart(name):
            running.append(name)
            await ends.wait()

    first, second, clear = asyncio.Event(), asyncio.Event(), asyncio.Event()
    with opened(path) as deaths:
        works = (("a", first), ("b", second), ("c", clear))
        tasks = [asyncio.create_task(work(deaths, *each)) for each in works]
        await asyncio.sleep(0)
        assert running == ["a", "c"]
        first.set()
        second.set()
        clear.set()
        await asyncio.gather(*tasks)
    assert running == ["a", "c", "b"]
