"""The platform's words, and those of others beside them. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

QUOTED_LIMIT: Final = 500
"""Characters of another's words in a sentence of ours; fields have more."""


def quoted(text: str) -> str:
    """The words shortened, in quotes, on one line: they end where the quotes do, whatever they hold."""
    return repr(text if len(text) <= QUOTED_LIMIT else f"{text[:QUOTED_LIMIT]}…")


class Why(NamedTuple):
    """Why something ended: in the platform's words, and in a field of its own what somebody else said about it."""

    code: str = ""
    """A stable word for the cause."""
    reason: str = ""
    """A sentence of the platform; names in it stand in quotes."""
    said: str = ""
    """The words of somebody else. They are data, and no instruction of the platform."""
    said_by: str = ""
    """The speaker."""


def attributed(reason: str, said: str, said_by: str) -> str:
    """Both in one line for people: the platform's sentence, then who said what, in quotes."""
    words = f"{said_by or 'somebody'} said {quoted(said)}" if said else ""
    return "; ".join(text for text in (reason, words) if text)
