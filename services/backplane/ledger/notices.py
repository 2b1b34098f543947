"""Things that an operator has to mend, reported by this worker: in the log once, in its health and in a metric all the
time."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final, NamedTuple

log = logging.getLogger("backplane.ledger")

SHOWN_S: Final = 600.0
"""How long a notice is shown after it was true last."""
KEPT: Final = 100


class Notice(NamedTuple):
    """One thing that is not as it should be."""

    what: str
    mend: str
    since: float
    """Seconds since 1970."""
    last: float
    times: int


class Notices:
    """At most ``KEPT``, by what they are about; the one that was true longest ago goes first."""

    def __init__(self, clock: Callable[[], float] = time.time, log: logging.Logger = log) -> None:
        self._clock = clock
        self._log = log
        self._kept: OrderedDict[str, Notice] = OrderedDict()
        self.total = 0
        """How often something was noticed, ever."""

    def report(self, about: str, what: str, mend: str) -> None:
        """Notes that it is so now; ``mend``: what the operator does about it."""
        now = self._clock()
        before = self._kept.pop(about, None)
        if before is None or now - before.last > SHOWN_S:
            self._log.error("%s; %s", what, mend)
            before = Notice(what, mend, now, now, 0)
        self._kept[about] = Notice(what, mend, before.since, now, before.times + 1)
        self.total += 1
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)

    def over(self, about: str) -> None:
        """It is no longer so."""
        self._kept.pop(about, None)

    def shown(self) -> list[dict[str, Any]]:
        """Notices of the last minutes, the newest last."""
        since = self._clock() - SHOWN_S
        return [
            {"what": one.what, "mend": one.mend, "since": round(one.since), "times": one.times}
            for one in self._kept.values()
            if one.last >= since
        ]
