"""Where a reader of the log is: the next offset of each topic-partition, as a line of text for ``Last-Event-ID``. Pure.

``runs-0-12~state-3-44``: of bp.runs, partition 0, everything before offset 12 was read, and so on. ``7!runs-0-12``: and
the facts of a run up to its seventh were shown. Laws: ``read`` of ``written`` gives the same places back, ``read_mark``
of ``mark`` the same number and places.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from backplane.sink.fence import Place

PREFIX: Final = "bp."
PART: Final = re.compile(r"([A-Za-z0-9._]+)-([0-9]{1,9})-([0-9]{1,18})")
LIMIT: Final = 100_000
"""Characters; a header of a browser that is longer is none of ours."""


def written(following: Mapping[Place, int]) -> str:
    """The places as text, in their order."""
    return "~".join(
        f"{topic.removeprefix(PREFIX)}-{partition}-{offset}" for (topic, partition), offset in sorted(following.items())
    )


def read(text: str) -> dict[Place, int]:
    """The places in a text. Raises ValueError, quoting what is none."""
    found: dict[Place, int] = {}
    if len(text) > LIMIT:
        raise ValueError(f"{len(text)} characters are no positions")
    for part in text.split("~") if text else ():
        match = PART.fullmatch(part)
        if match is None:
            raise ValueError(f"{part!r} is no position; one is topic-partition-offset, for instance runs-0-12")
        found[PREFIX + match[1], int(match[2])] = int(match[3])
    return found


def mark(shown: int, following: Mapping[Place, int]) -> str:
    """The number of the last fact that was shown, and the places, as text."""
    return f"{shown}!{written(following)}"


def read_mark(text: str) -> tuple[int, dict[Place, int]]:
    """The number and the places in a text. Raises ValueError, quoting what is none."""
    number, between, places = text.partition("!")
    if not between or not re.fullmatch(r"[0-9]{1,18}", number):
        raise ValueError(f"{text[:100]!r} does not begin with the number of a fact; one is 7!runs-0-12")
    return int(number), read(places)
