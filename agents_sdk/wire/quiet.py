"""Clients whose broker is away say so every half minute, by Python's logging, and not twenty times a second on stderr.

librdkafka forgets its brokers when all of them are away and begins again from the bootstrap servers (KIP-899). Each
time it loses the waits and the counts of repeated errors. An agent left alone by its platform wrote 17 MB in 25 minutes
(2.11 and later; issue 5088 of its repository). This new beginning finds a cluster that has moved, so it stays; the
first wait is longer and the lines are counted here.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from typing import Any, Final

RECONNECT_MS: Final = 150
"""Wait before a connection is tried again; up to half as much again by chance. Its default is 100. Half of it is also
what a new client waits before it connects to the broker that it needs."""
EVERY_S: Final = 30.0
_NUMBERS: Final = re.compile(r"\(after .*\)$")
"""How long a connection lasted, which makes each line of one trouble another one."""


class RateLimitedLogFilter(logging.Filter):
    """Lets a line through if its like was not let through in the last ``EVERY_S`` seconds, whichever client says it."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._now = now
        self._logged_at: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written."""
        text = record.getMessage()
        facility, _, rest = text.partition(" ")
        like = f"{facility} {_NUMBERS.sub('', rest.rpartition(']: ')[2])}"
        now = self._now()
        if now - self._logged_at.get(like, float("-inf")) < EVERY_S:
            return False
        self._logged_at = {line: at for line, at in self._logged_at.items() if now - at < EVERY_S}
        self._logged_at[like] = now
        return True


LOG: Final = logging.getLogger("backplane.kafka")
LOG.addFilter(RateLimitedLogFilter())

POLLED: Final[dict[str, Any]] = {"reconnect.backoff.ms": RECONNECT_MS, "logger": LOG}
"""Properties of a client that is polled all the time: only polling hands its lines on."""
CLIENT_LOGGING: Final[dict[str, Any]] = {"reconnect.backoff.ms": RECONNECT_MS, "log_level": 2}
"""Properties of a producer beside such a client, which says of the brokers what there is to say."""
