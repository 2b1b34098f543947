"""Which record each partition is being decided at, kept where the end of the process does not reach.

A record that kills its worker raises no exception: a crash in C, the kernel's out-of-memory killer. So the offset is
noted before a record is taken and wiped out after it, in a file that is mapped into memory. A note costs no system
call, and the kernel keeps it when the process dies, not when the machine does, which no record causes. The worker that
starts next reads at which records its predecessors died, and how often.

The file belongs to one worker, as its table does. Another worker that takes the partition over counts for itself.
"""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path
from typing import Final

from backplane.runtime.batch import Record

TWICE: Final = 2
"""Deaths at one record after which it is not tried again. Once may be chance: an operator's kill, a full memory."""
PARTITIONS: Final = 4_096
_SLOT: Final = struct.Struct("<qqq")
"""Offset + 1 of the record that is being decided, of the record at which a worker died last, and how often it did."""
_NOW: Final = struct.Struct("<q")


class Marks:
    """One worker's notes. ``begin`` and ``end`` are called for every record."""

    def __init__(self, path: Path) -> None:
        """Opens the notes; what a predecessor was at when it ended is counted as a death there. Raises OSError."""
        size = PARTITIONS * _SLOT.size
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.ftruncate(handle, size)
            self._notes = mmap.mmap(handle, size)
        finally:
            os.close(handle)
        self.died: dict[int, tuple[int, int]] = {}
        """Partition → the offset at which a worker died last, and how often; until the record is dealt with."""
        for partition in range(PARTITIONS):
            now, died, times = _SLOT.unpack_from(self._notes, partition * _SLOT.size)
            if now:
                died, times = now, times + 1 if died == now else 1
                _SLOT.pack_into(self._notes, partition * _SLOT.size, 0, died, times)
            if died:
                self.died[partition] = died - 1, times

    def begin(self, partition: int, offset: int) -> None:
        """The record at this offset is being decided."""
        if partition < PARTITIONS:
            _NOW.pack_into(self._notes, partition * _SLOT.size, offset + 1)

    def end(self, partition: int) -> None:
        """It is decided, or failed by an exception."""
        if partition < PARTITIONS:
            _NOW.pack_into(self._notes, partition * _SLOT.size, 0)

    def deadly(self, partition: int, offset: int) -> bool:
        """Whether workers died at this record so often that it must not be tried again."""
        died, times = self.died.get(partition, (-1, 0))
        return died == offset and times >= TWICE

    def deadly_of(self, partition: int, records: list[Record]) -> Record | None:
        """The first of these records that must not be tried again."""
        if partition not in self.died:
            return None
        return next((record for record in records if self.deadly(partition, record.offset)), None)

    def stand(self, partition: int, offset: int, deaths: int) -> None:
        """Workers died at this record, as the log says: these need not have been this one's predecessors."""
        times = max(deaths, TWICE)
        self.died[partition] = offset, times
        if partition < PARTITIONS:
            _SLOT.pack_into(self._notes, partition * _SLOT.size, 0, offset + 1, times)

    def forget(self, partition: int) -> None:
        """The record at which workers died is dealt with."""
        self.died.pop(partition, None)
        if partition < PARTITIONS:
            _SLOT.pack_into(self._notes, partition * _SLOT.size, 0, 0, 0)

    def close(self) -> None:
        """Unmaps the file."""
        self._notes.close()
