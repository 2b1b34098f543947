"""The end of what a program writes to stderr: read all the time, so that it never blocks on it, and kept bounded."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

KEPT: Final = 2_000
"""Bytes: the end of a traceback."""
SHOWN: Final = 300
"""Characters of it in a message."""


class Tail:
    """Reads a stream to its end in a task of its own."""

    def __init__(self, stream: asyncio.StreamReader) -> None:
        self._kept: deque[int] = deque(maxlen=KEPT)
        self._task = asyncio.get_running_loop().create_task(self._drain(stream))

    async def last_line(self, patience_s: float) -> str:
        """The last line, once the stream has ended or the patience is over; "" for none."""
        await asyncio.wait([self._task], timeout=patience_s)  # a grandchild may hold the pipe open
        lines = bytes(self._kept).decode(errors="replace").strip().splitlines()
        return lines[-1].strip()[-SHOWN:] if lines else ""

    async def close(self) -> None:
        """Reads no further."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _drain(self, stream: asyncio.StreamReader) -> None:
        while chunk := await stream.read(KEPT):
            self._kept.extend(chunk)
