"""A way between clients and a server that can be slow, stand still or break: a TCP proxy in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from types import TracebackType
from typing import Final, Self

CHUNK: Final = 65_536


class Lane:
    """Listens on ``port`` of this machine and passes what comes to ``to``, in both directions, in order.

    ``delay_s`` holds every chunk back for so long, ``jitter_s`` for up to so much more; ``hold`` lets nothing through
    until ``release``; ``cut`` breaks all connections there are.
    """

    def __init__(self, port: int, to: int, seed: int = 0) -> None:
        self.port = port
        self.delay_s = 0.0
        self.jitter_s = 0.0
        self._to = to
        self._chance = random.Random(seed)
        self._open: set[asyncio.StreamWriter] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name=f"lane-{port}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10), f"nobody listens on {self.port}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    def hold(self) -> None:
        """Nothing passes from now on; connections stay."""
        self._loop.call_soon_threadsafe(self._clear.clear)

    def release(self) -> None:
        """What was held back passes, in order."""
        self._loop.call_soon_threadsafe(self._clear.set)

    def cut(self) -> None:
        """Every connection breaks; new ones are taken."""
        self._loop.call_soon_threadsafe(self._cut)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._end, self._clear = asyncio.Event(), asyncio.Event()
        self._clear.set()
        server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self._ready.set()
        await self._end.wait()
        server.close()
        self._clear.set()
        self._cut()

    def _cut(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            writer.close()
            return
        both = {writer, far_writer}
        self._open |= both
        try:
            await asyncio.gather(self._pass(reader, far_writer), self._pass(far_reader, writer))
        finally:
            self._open -= both
            for each in both:
                each.close()

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(CHUNK):
                await self._clear.wait()
                held = self.delay_s + self._chance.uniform(0, self.jitter_s)
                if held:
                    await asyncio.sleep(held)
                target.write(data)
                await target.drain()
        with contextlib.suppress(OSError):
            target.write_eof()
