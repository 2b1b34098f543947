"""Free ports on loopback, the same ones again at the next start where possible.

All lie below 32768: above it the kernel takes ports for outgoing connections, and a client that probes a server which
is not up yet can be given that very port, connect to itself, and keep the server out. ``BACKPLANE_PORTS=20000-22999``
narrows them: whoever starts platforms side by side, as our tests do, gives each starter a range of its own, because a
port that was chosen is free until its server, which is on its way, has it.
"""

from __future__ import annotations

import os
import random
import re
import socket
from collections.abc import Iterable, Mapping
from typing import Final

from infra.local.errors import PlatformError

LOWEST: Final = 20_000
HIGHEST: Final = 32_767
LOOPBACK: Final = "127.0.0.1"
VARIABLE: Final = "BACKPLANE_PORTS"


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


def choose(names: Iterable[str], recorded: Mapping[str, int], rng: random.Random | None = None) -> dict[str, int]:
    """A free port for each name, no two alike: the recorded one where it is still free, else one at random.

    At random, because two platforms that start at the same moment would walk the same sequence and collide.

    Raises:
        PlatformError: ``BACKPLANE_PORTS`` is no range within ours.
    """
    rng = rng or random.Random()  # noqa: S311 -- spreads load, guards nothing
    low, high = bounds()
    taken: set[int] = set()
    chosen: dict[str, int] = {}
    for name in names:
        port = recorded.get(name, 0)
        while not (low <= port <= high and port not in taken and free(port)):
            port = rng.randint(low, high)
        taken.add(port)
        chosen[name] = port
    return chosen
