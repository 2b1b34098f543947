"""A TCP connection that can be cut: what is between a browser and a server, when a train enters a tunnel."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit


class Wire:
    """Passes connections on to a server, until it is cut."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._whole = True
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, name="wire")]
        self._threads[0].start()

    def cut(self) -> int:
        """Ends all connections at once and lets no new one through; how many were ended."""
        with self._lock:
            self._whole = False
            for one in self._open:
                _end(one)
            return len(self._open) // 2

    def mend(self) -> None:
        """Lets connections through again."""
        with self._lock:
            self._whole = True

    def close(self) -> None:
        """Ends it, when nothing of it is left."""
        self.cut()
        _end(self._listener)
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        with self._listener:
            while True:
                try:
                    near, _ = self._listener.accept()
                except OSError:  # it was closed
                    return
                thread = threading.Thread(target=self._connect, args=(near,), name="wire")
                self._threads.append(thread)
                thread.start()

    def _connect(self, near: socket.socket) -> None:
        with near, socket.create_connection(("127.0.0.1", self._target)) as far:
            with self._lock:
                if not self._whole:
                    return
                self._open |= {near, far}
            back = threading.Thread(target=_passed, args=(far, near), name="wire")
            back.start()
            _passed(near, far)
            back.join()
            with self._lock:
                self._open -= {near, far}


def _passed(source: socket.socket, sink: socket.socket) -> None:
    """Passes bytes on until either side ends; then both do."""
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
    _end(source)
    _end(sink)


def _end(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)


@contextmanager
def wire(base: str) -> Iterator[tuple[str, Wire]]:
    """An address that leads to the server at ``base``, and the wire in between."""
    between = Wire(urlsplit(base).port or 80)
    try:
        yield f"http://127.0.0.1:{between.port}", between
    finally:
        between.close()
