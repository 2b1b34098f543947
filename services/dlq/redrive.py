"""Puts dead letters back: a delivery by the ledger, any other record by writing it again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import msgspec

from agents_sdk.errors import Refused
from services.dlq.letters import Letter

if TYPE_CHECKING:
    from agents_sdk.blocking import Backplane
    from agents_sdk.settings import Settings


class Outcome(msgspec.Struct, frozen=True):
    """What became of one letter."""

    letter: Letter
    done: str
    """redriven, would be (a dry run), or refused."""
    why: str = ""


def redrive(backplane: Backplane, settings: Settings, chosen: Iterable[Letter], *, dry_run: bool) -> Iterator[Outcome]:
    """What becomes of each letter. A refusal, the end of its run for one, leaves the letter as it is.

    Raises:
        Unanswered, Unreachable.
    """
    from services.dlq.log import write_again

    for letter in chosen:
        why = letter.not_redrivable()
        if why:
            yield Outcome(letter, "refused", why)
        elif dry_run:
            yield Outcome(letter, "would be")
        elif letter.delivery_id:
            yield _by_the_ledger(backplane, letter)
        else:
            write_again(settings, letter)
            yield Outcome(letter, "redriven")


def _by_the_ledger(backplane: Backplane, letter: Letter) -> Outcome:
    try:
        backplane.comms.redrive(letter.delivery_id, run=letter.run)
    except Refused as refused:
        return Outcome(letter, "refused", refused.message)
    return Outcome(letter, "redriven")
