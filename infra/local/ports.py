"""Free ports on loopback, the same ones again at the next start where possible.

All lie below 32768: above it the kernel takes ports for outgoing connections, and a client that probes a server which
is not up yet can be given that very port, connect to itself, and keep the server out.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable, Mapping
from typing import Final

LOWEST: Final = 20_000
HIGHEST: Final = 32_767
LOOPBACK: Final = "127.0.0.1"


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
    """
    rng = rng or random.Random()  # noqa: S311 -- spreads load, guards nothing
    taken: set[int] = set()
    chosen: dict[str, int] = {}
    for name in names:
        port = recorded.get(name, 0)
        while not (LOWEST <= port <= HIGHEST and port not in taken and free(port)):
            port = rng.randint(LOWEST, HIGHEST)
        taken.add(port)
        chosen[name] = port
    return chosen
