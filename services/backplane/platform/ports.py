"""Free ports on loopback, the same ones again at the next start where possible.

All lie below 32768: above it the kernel takes ports for outgoing connections. A client that probes a server which is
not up yet can be given that very port, connect to itself, and keep the server out. ``BACKPLANE_PORTS=20000-22999``
narrows them.

A port that was chosen is free until its server, which is on its way, has it. So who chooses one also reserves it: by a
lock on one byte of a file that all processes of a user share. No other process chooses it until this one has ended.
"""

from __future__ import annotations

import errno
import fcntl
import os
import random
import re
import socket
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from backplane.platform.errors import PlatformError

LOWEST: Final = 20_000
HIGHEST: Final = 32_767
LOOPBACK: Final = "127.0.0.1"
VARIABLE: Final = "BACKPLANE_PORTS"
_reserved: set[int] = set()
"""Ports that this process has chosen."""
_files: list[int] = []
"""The open file of reservations. It is never closed: with any descriptor of it all locks of the process would go."""


def bounds() -> tuple[int, int]:
    """The lowest and the highest port that may be chosen.

    Raises:
        PlatformError: ``BACKPLANE_PORTS`` is no range within ours.
    """
    given = os.environ.get(VARIABLE, "")
    if not given:
        return LOWEST, HIGHEST
    found = re.fullmatch(r"(\d{1,5})-(\d{1,5})", given)
    low, high = (int(found[1]), int(found[2])) if found else (0, 0)
    if not LOWEST <= low < high <= HIGHEST:
        raise PlatformError(f"{VARIABLE} is {given!r}", hint=f"give it a range within {LOWEST}-{HIGHEST}")
    return low, high


def free(port: int) -> bool:
    """Whether a server could listen on ``port`` of loopback now."""
    with socket.socket() as probe:
        # As servers do: without it a port stays "taken" for a minute after its last connection closed.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def _reserve(port: int) -> bool:
    """Whether no other process has chosen the port; then this one has. Where no file can be written nothing is
    reserved, which matters to those alone who start platforms side by side."""
    if not _files:
        path = Path(tempfile.gettempdir()) / f"backplane-ports-{os.getuid()}"
        try:
            _files.append(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600))
        except OSError:
            return True
    try:
        fcntl.lockf(_files[0], fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError as error:
        return error.errno not in (errno.EACCES, errno.EAGAIN)
    return True


def _release(port: int) -> None:
    if _files and port not in _reserved:
        fcntl.lockf(_files[0], fcntl.LOCK_UN, 1, port)


def _taken_now(port: int) -> bool:
    """Whether this process has the port now, reserved and without a server."""
    if not _reserve(port):
        return False
    if free(port):
        _reserved.add(port)
        return True
    _release(port)
    return False


MOST_LOOKS: Final = 1_000
LOOKS_EACH: Final = 20
"""A port at random is looked at so often for each of the range: the chance to miss a free one is below 10⁻⁸."""


def choose(names: Iterable[str], recorded: Mapping[str, int], rng: random.Random | None = None) -> dict[str, int]:
    """A free port for each name, no two alike: the recorded one where it is still free, else one at random.

    At random, because two platforms that start at the same moment would walk the same sequence and collide.

    Raises:
        PlatformError: ``BACKPLANE_PORTS`` is no range within ours, or no port of it is free.
    """
    rng = rng or random.Random()  # noqa: S311 -- spreads load, guards nothing
    low, high = bounds()
    taken: set[int] = set()
    chosen: dict[str, int] = {}
    for name in names:
        port = recorded.get(name, 0)
        looks = 0
        while not (low <= port <= high and port not in taken and _taken_now(port)):
            port, looks = rng.randint(low, high), looks + 1
            if port in _reserved and looks < high - low:  # chosen before, for a server that may be on its way
                port = 0
            if looks > MOST_LOOKS + LOOKS_EACH * (high - low):
                raise PlatformError(
                    f"no port from {low} to {high} is free",
                    hint=f"end what listens there, or set {VARIABLE} to a wider range",
                )
        taken.add(port)
        chosen[name] = port
    return chosen
