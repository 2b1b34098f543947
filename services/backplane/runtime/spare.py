"""A spare process: it has imported all that it needs, knows its platform, and waits until the one whose place it takes
has died.

That is most of what a worker's start takes. The local platform starts such a process beside a working one, and lets it
begin by a line on its stdin. The line says how the one before it ended. Where stdin ends, the platform is gone, and the
spare process ends as well.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from agents_sdk.deaths import ENDED

if TYPE_CHECKING:
    from agents_sdk.settings import Settings
    from agents_sdk.wire.codec import Codec

VARIABLE: Final = "BACKPLANE_SPARE"
"""``1`` in the environment of a process that waits."""


def when_its_turn_comes(
    load: Callable[[], Settings], reach: Callable[[Settings], Codec], later: Iterable[str] = ()
) -> tuple[Settings, Codec]:
    """Settings and codec of this process. A spare process finds both before its turn, and settings that have changed
    meanwhile count. ``later``: modules that are imported after the start of a worker. Raises what the two raise; exits
    with 0 where nobody needs the spare process any more."""
    waits = os.environ.pop(VARIABLE, "") == "1"  # taken away: a process that begins again does not wait again
    settings = load()
    codec = reach(settings)
    if waits:
        for name in later:
            importlib.import_module(name)
        ended = os.read(0, 4_096)
        if not ended:
            sys.exit(0)
        os.environ[ENDED] = ended.decode().strip()
        now = load()
        if now != settings:
            return now, reach(now)
    return settings, codec
