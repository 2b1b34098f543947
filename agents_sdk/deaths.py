"""The work of a process at its death, kept where its end does not reach, and read by the process that starts next.

Work may kill the process that does it without an exception: a crash in C, ``os._exit``, the kernel's out-of-memory
killer. A process that tries such work again dies again, for ever. So each piece of work is noted before it begins and
wiped out after it, in a file that is mapped into memory. A note costs no system call, and the kernel keeps it when the
process dies.

Many pieces of work are under way at a time, and one of them is to blame. Each death gives points to all of them: many
where the process ended itself or memory was short. It gives fewer where somebody else may have killed it. Work with
enough points is *deadly* where it is alone in that, or where this has gone on for long. Else it is *suspected*, and is
done apart from other work that was there at a death. Deadly work is not begun again. Work that had got further than at
any death before does not always die at the same place: its points begin again.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import mmap
import os
import struct
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

ENDED: Final = "BACKPLANE_ENDED"
"""Environment of a process that is started again: ``pid:code`` of the one before, as Popen gives the code."""
BY_ITSELF: Final = 5
"""Points of a death that nobody outside has caused: an exit code, a crash, the out-of-memory killer."""
BY_SOMEBODY: Final = 1
"""Points of any other death. An operator's kill, or a cluster's, looks the same as one that the work has sent, and long
work may meet many of them."""
LIMIT: Final = 10
"""Points for which work is suspected: two deaths by itself, ten others."""
HOPELESS: Final = 22
"""Points from which suspected work is deadly, though it was never found alone."""
SLOTS: Final = 8_192
KEPT_S: Final = 86_400.0
"""How long points are remembered of work that does not come again: somebody else has done it."""
ALONE_S: Final = 10.0
"""How long suspected work waits for other suspected work to end; that may wait for this one."""
_SLOT: Final = struct.Struct("<16sBBBBIIxxxxq")
"""Digest of the name, whether it is under way, points, deaths, whether it is deadly. Then how far it is, how far it was
at most at a death, time of the last death."""
_FAR: Final = struct.Struct("<I")
_FAR_AT: Final = 20
_HEADER: Final = struct.Struct("<qqqq")
"""Process id and its start, how often the kernel was out of memory, and a version."""
_VERSION: Final = 1


class DeathCount(NamedTuple):
    """Knowledge of a piece of work."""

    points: int = 0
    deaths: int = 0
    deadly: bool = False
    furthest: int = 0
    """How far it was at most at a death; always 0 for work that does not say."""
    last: int = 0
    """Seconds since 1970, of the last death."""

    @property
    def suspected(self) -> bool:
        """It may be what kills, and is to be done apart from others of that kind."""
        return self.points >= LIMIT and not self.deadly


NOTHING: Final = DeathCount()


def after_death(under_way: dict[bytes, tuple[DeathCount, int]], points: int, at: int) -> dict[bytes, DeathCount]:
    """Knowledge of the work that was under way at a death; given the earlier knowledge and how far each was. Pure."""
    risen = {}
    for name, (one, far) in under_way.items():
        before = one.points if far <= one.furthest else 0
        deaths = min(one.deaths + 1, 255)
        risen[name] = DeathCount(min(before + points, 255), deaths, one.deadly, max(far, one.furthest), at)
    reached = [name for name, one in risen.items() if one.points >= LIMIT]
    return {
        name: one._replace(deadly=one.deadly or one.points >= HOPELESS or reached == [name])
        for name, one in risen.items()
    }


class Deaths:
    """One process's notes. Not for two threads at a time."""

    def __init__(
        self,
        path: Path,
        *,
        ended: str | None = None,
        memory_kills: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Opens the notes and counts the death of the predecessor, if it died at something. ``ended`` and
        ``memory_kills`` are what the environment and the kernel say. Raises OSError, BlockingIOError where a living
        process has them open."""
        size = (SLOTS + 1) * _SLOT.size
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)  # locked for as long as the process lives
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._file, size)
            self._notes = mmap.mmap(self._file, size)
        except OSError:
            os.close(self._file)
            raise
        self._clock = clock
        self._place: dict[bytes, int] = {}
        self._known: dict[bytes, DeathCount] = {}
        self._free: list[int] = []
        self._alone = asyncio.Lock()
        self._load(
            os.environ.get(ENDED, "") if ended is None else ended,
            killed_for_memory() if memory_kills is None else memory_kills,
        )

    def _load(self, ended: str, memory_kills: int) -> None:
        pid, began, kills, version = _HEADER.unpack_from(self._notes, 0)
        me = os.getpid(), process_began()
        # The same process after ``exec`` has not died. Where its start is not known, process ids have to do.
        died = version == _VERSION and (pid, began) != me
        under_way: dict[bytes, tuple[DeathCount, int]] = {}
        for number in range(1, SLOTS + 1):
            name, running, points, deaths, deadly, far, furthest, last = _SLOT.unpack_from(
                self._notes, number * _SLOT.size
            )
            noted = DeathCount(points, deaths, bool(deadly), furthest, last)
            old = self._clock() - last > KEPT_S
            if version != _VERSION or not any(name) or (not running and old):
                self._free.append(number)
                self._wipe(number)
                continue
            self._place[name] = number
            self._known[name] = noted
            if running:
                under_way[name] = noted, far
        if died and under_way:
            points = points_of(ended, pid, memory_kills > kills)
            self._known |= after_death(under_way, points, round(self._clock()))
        for name in under_way:
            self._write(name, running=False)
        _HEADER.pack_into(self._notes, 0, *me, memory_kills, _VERSION)

    def of(self, name: str) -> DeathCount:
        """Knowledge of a piece of work."""
        return self._known.get(_digest(name), NOTHING)

    def of_late(self, name: str, within_s: float) -> int:
        """How many deaths are known, where the last one was so short a time ago."""
        noted = self.of(name)
        return noted.deaths if self._clock() - noted.last <= within_s else 0

    def begin(self, name: str) -> None:
        """The work is under way. Where there is no room for a note it is done without."""
        digest = _digest(name)
        if digest not in self._place:
            if not self._free:
                return
            self._place[digest] = self._free.pop()
        self._write(digest, running=True)

    def got(self, name: str, far: int) -> None:
        """The work, which is under way, has got this far."""
        place = self._place.get(_digest(name))
        if place is not None:
            _FAR.pack_into(self._notes, place * _SLOT.size + _FAR_AT, min(far, 2**32 - 1))

    def end(self, name: str, *, done: bool = True) -> None:
        """The work is not under way any more; where it is ``done`` it does not come again, and is forgotten."""
        digest = _digest(name)
        if digest not in self._place:
            return
        if not done and digest in self._known:
            self._write(digest, running=False)
            return
        self._known.pop(digest, None)
        place = self._place.pop(digest)
        self._wipe(place)
        self._free.append(place)

    def blame(self, name: str) -> None:
        """Counts a death for something that is no piece of work itself, such as the kind of it. ``end`` forgets it."""
        digest, noted = _digest(name), self.of(name)
        if digest not in self._place:
            if not self._free:
                return
            self._place[digest] = self._free.pop()
        self._known[digest] = noted._replace(deaths=min(noted.deaths + 1, 255), last=round(self._clock()))
        self._write(digest, running=False)

    def ending(self) -> None:
        """The process ends for a reason of its own: nothing that is under way has caused it."""
        for digest in list(self._place):
            self._write(digest, running=False)

    @asynccontextmanager
    async def apart(self, name: str) -> AsyncIterator[None]:
        """Within it suspected work is under way beside none that was there at a death; all other work at once."""
        if not self.of(name).points or not any(one.suspected for one in self._known.values()):
            yield
            return
        ours = False
        with suppress(TimeoutError):
            async with asyncio.timeout(ALONE_S):
                ours = await self._alone.acquire()
        try:
            yield
        finally:
            if ours:
                self._alone.release()

    def close(self) -> None:
        """Nothing is under way any more: lets go of the file. Later work is not noted."""
        self.ending()
        self._place.clear()
        self._free.clear()
        self._notes.close()
        os.close(self._file)

    def _write(self, digest: bytes, *, running: bool) -> None:
        noted = self._known.get(digest, NOTHING)
        _SLOT.pack_into(
            self._notes, self._place[digest] * _SLOT.size,
            digest, running, noted.points, noted.deaths, noted.deadly, 0, noted.furthest, noted.last,
        )  # fmt: skip

    def _wipe(self, number: int) -> None:
        _SLOT.pack_into(self._notes, number * _SLOT.size, b"", 0, 0, 0, 0, 0, 0, 0)


class ProcessDied(RuntimeError):
    """Processes died while they did this work, so that it is not done once more."""

    def __init__(self, deaths: int) -> None:
        super().__init__(f"{deaths} processes died while they did this; it is not done again")
        self.deaths = deaths


@asynccontextmanager
async def noted(deaths: Deaths | None, name: str) -> AsyncIterator[None]:
    """Within it the work is under way. Raises ProcessDied where it is deadly."""
    if deaths is None:
        yield
        return
    known = deaths.of(name)
    if known.deadly:
        raise ProcessDied(known.deaths)
    async with deaths.apart(name):
        deaths.begin(name)
        try:
            yield
        finally:
            deaths.end(name, done=False)


def points_of(ended: str, pid: int, out_of_memory: bool) -> int:
    """Points of a death: ``ended`` is what the environment says of the process that ended last. Pure."""
    ended_pid, _, code = ended.partition(":")
    known = ended_pid == str(pid) and code.lstrip("-").isdigit()
    by_itself = known and int(code) != -9 and int(code) != -15
    return BY_ITSELF if by_itself or out_of_memory else BY_SOMEBODY


def _digest(name: str) -> bytes:
    return hashlib.sha256(name.encode(errors="replace")).digest()[:16]


def process_began() -> int:
    """When this process began, by the kernel's count; 0 where it does not say."""
    try:
        return int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0


def killed_for_memory() -> int:
    """How often the kernel has killed a process for want of memory; 0 where it does not say."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
