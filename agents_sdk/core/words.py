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
    return f"{reason}{speaker(reason, said_by)} {quoted(said)}" if said else reason


def speaker(reason: str, said_by: str) -> str:
    """The clause between a sentence and the words of somebody: who said them. A speaker whom the sentence names at its
    beginning, perhaps after a status, or at its end is not named again."""
    name = repr(said_by)
    if said_by and reason.endswith(name):
        return ", who said"
    if said_by and any(part.startswith(f"{name} ") for part in (reason, reason.partition(": ")[2])):
        return " and said"
    return f"{'; ' if reason else ''}{said_by or 'somebody'} said"


def ended(status: str, reason: str) -> str:
    """How a run ended, in one line for people: its status, and why. The sentence that somebody ended the run says the
    status itself: ``cancelled by 'tester'``."""
    by = reason.removesuffix(f" {status} the run")
    if by != reason and by[:1] in ("'", '"'):
        return f"{status} by {by}"
    return f"{status}: {reason}" if reason else status
