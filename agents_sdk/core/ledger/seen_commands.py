"""Commands whose answers the ledger has forgotten, remembered until a record of them is refused for its age. Pure.

Without this a record copied from bp.commands could be applied a second time once its answer is gone. Kept are 64 bits
of a hash of sender and id, in one set a window of the broker's time, and ``KEPT`` windows. A command may be stamped up
to one window ahead of the time at which it is appended. It is too old one window after its stamp. So two windows at
least lie between its being forgotten and its set being dropped. Law: an id noted is found again for two windows, and
memory is bounded by what is forgotten in three.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import Final

from agents_sdk.core.commands import Command
from agents_sdk.core.ids import CommandId
from agents_sdk.core.ledger.changes import Changes
from agents_sdk.core.ledger.scribe import Refusal

WINDOW_US: Final = 120_000_000
"""How far a command's own time may be from the broker's. It leaves room for clocks that are not set and for a slow
producer (the SDK's gives up after 60 s). It is short enough to hold the commands forgotten in it in memory."""
KEPT: Final = 3

SeenCommands = dict[int, dict[int, None]]
"""Window, counted from 1970 → hashes of the commands forgotten in it, in that order. The part in a snapshot stays a
beginning of it."""


def remember(spent: SeenCommands, command_id: CommandId, sender: str, at: int, changes: Changes) -> None:
    """Remembers a command that is forgotten at this time; ``sender`` is empty where it is not known any more: then the
    id counts as everybody's. A clock that goes back puts it in the newest window. One that was far ahead, and is right
    again, brings all windows back with it: they would never be over otherwise."""
    newest = max(spent, default=0)
    window = at // WINDOW_US
    if newest - window > KEPT:
        known = dict.fromkeys(each for old in sorted(spent) for each in spent[old])
        for old in list(spent):
            changes.drop(spent, old)
        changes.put(spent, window, known)
    window = max(window, max(spent, default=0))
    if window not in spent:
        for old in sorted(spent)[: max(0, len(spent) + 1 - KEPT)]:  # by number: after a jump all would be old
            changes.drop(spent, old)
        changes.put(spent, window, {})
    changes.put(spent[window], _hash(command_id) ^ (_mark(sender) if sender else 0), None)


def seen(spent: SeenCommands, command_id: CommandId, sender: str) -> bool:
    """Whether a command of this sender was applied before and forgotten not long ago."""
    if not spent:
        return False
    anybodys = _hash(command_id)
    own = anybodys ^ _mark(sender)
    return any(own in window or anybodys in window for window in spent.values())


def replayed(command: Command) -> Refusal:
    """The refusal of a command's copy, once its answer is forgotten."""
    message = f"command {command.command_id[:500]} was applied before, and its answer is no longer kept"
    return Refusal("replayed", message, command_id=command.command_id)


def _hash(command_id: CommandId) -> int:
    return int.from_bytes(blake2b(command_id.encode(), digest_size=8).digest(), "big")


@lru_cache(maxsize=10_000)
def _mark(sender: str) -> int:
    """The mark of a hash as the sender's: a thief of another's has to find a given hash of 64 bits."""
    return int.from_bytes(
        blake2b(sender.encode("utf-8", "surrogatepass"), digest_size=8, person=b"sender").digest(), "big"
    )
