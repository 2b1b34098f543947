"""The clock of the processes under test: it is ahead of the machine's by what a file says, in seconds.

Python imports this at its start where it finds it (PYTHONPATH). Only the time of day steps; what counts seconds goes
on.
"""

import os
import time

_FILE = os.environ.get("CHAOS_CLOCK", "")
_EVERY_NS = 50_000_000

if _FILE:
    _real_ns = time.time_ns
    _monotonic_ns = time.monotonic_ns
    _known = [0, 0]

    def _ahead_ns() -> int:
        now = _monotonic_ns()
        if now >= _known[0]:
            _known[0] = now + _EVERY_NS
            try:
                with open(_FILE) as file:
                    _known[1] = int(float(file.read() or 0) * 1e9)
            except (OSError, ValueError):
                pass  # it is being written: what was known counts on
        return _known[1]

    def _time_ns() -> int:
        return _real_ns() + _ahead_ns()

    time.time_ns = _time_ns
    time.time = lambda: _time_ns() / 1e9
