"""Which keys of the snapshot table hold a partition's book. No I/O: keys and values come in, keys go out.

The table cannot fence anybody. A worker that stood still in the middle of its snapshot, and lost the partition
meanwhile, writes the rest when it wakes. So each owner writes under keys of its own, named by its token. It removes the
keys that its own have replaced only after its meta record. Nobody overwrites the entries of another owner. The newest
record of each run is chosen, of equal ones that of the later owner, since the earlier one's may be about to go. The
meta record is that of the owner that had applied most.

Laws (``tests/properties/test_snapshot_owners.py``): owners may write late, in part, or never. The chosen records and
the facts after the chosen meta record give the book. Once nobody writes late, nothing superfluous is left.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from agents_sdk.core.ids import RunId

LIVE: Final = "run"
ENDED: Final = "end"
META: Final = "meta"
SPENT: Final = "spent"


class Key(NamedTuple):
    """``<partition>/<kind>.<token>/<name>``; of the meta record without a name."""

    kind: str
    token: str
    name: str

    @classmethod
    def of(cls, key: str) -> Key:
        """The parts of a stored key."""
        _, who, *name = key.split("/", 2)
        kind, _, token = who.partition(".")
        return cls(kind, token, name[0] if name else "")


def successor(keys: Iterable[str], chance: str) -> str:
    """The token of an owner that has found these keys: it sorts above theirs. ``chance`` keeps two owners that found
    the same apart."""
    found = {token for _, token, _ in map(Key.of, keys)}
    newest = max((int(token.partition("-")[0], 16) for token in found if token), default=0)
    return f"{newest + 1:08x}-{chance}"


class OwnedKeys:
    """One owner's view of one partition's keys."""

    def __init__(self, partition: int, token: str) -> None:
        self.partition = partition
        self.token = token
        self._others: dict[RunId, str] = {}
        """Run → ``kind.token`` of its record, where another owner wrote it."""
        self._ended: dict[RunId, None] = {}
        """Ended runs with a record, by any writer."""
        self._spent: set[str] = set()
        """Keys of spent commands that this owner wrote."""
        self._left: list[str] = []
        """Keys of other owners that hold nothing of the book: they go with the next snapshot."""

    def key(self, kind: str, name: str = "") -> str:
        """The key that this owner writes."""
        who = f"{self.partition}/{kind}.{self.token}" if self.token else f"{self.partition}/{kind}"
        return f"{who}/{name}" if name else who

    def chosen(self, best: Mapping[RunId, str], stored: Iterable[str]) -> None:
        """The findings: run → the key of its record, and all keys there are."""
        kept = set(best.values())
        for run_id, key in best.items():
            kind, token, _ = Key.of(key)
            if kind == ENDED:
                self._ended[run_id] = None
            if token != self.token:
                self._others[run_id] = sys.intern(f"{kind}.{token}" if token else kind)
        # the meta record and the spent commands of another owner hold until this one has written its own, which is
        # before anything that is left is removed
        self._left = [key for key in stored if key not in kept]

    def live(self, run_id: RunId) -> tuple[str, list[str]]:
        """The key of a live run's record, and the keys that it replaces."""
        return self.key(LIVE, run_id), self._replaced(run_id)

    def ended(self, run_id: RunId) -> tuple[str, list[str]]:
        """The same of an ended run."""
        self._ended[run_id] = None
        return self.key(ENDED, run_id), [*self._replaced(run_id), self.key(LIVE, run_id)]

    def forgotten(self, run_id: RunId) -> list[str]:
        """The keys of a run of which nothing is kept."""
        self._ended.pop(run_id, None)
        return [*self._replaced(run_id), self.key(LIVE, run_id), self.key(ENDED, run_id)]

    def forgotten_ends(self, known: Iterable[RunId]) -> list[str]:
        """The keys of ended runs that are no longer among the known ones."""
        still = set(known)
        return [key for run_id in [one for one in self._ended if one not in still] for key in self.forgotten(run_id)]

    def spent_gone(self, written: Iterable[str]) -> list[str]:
        """This owner's keys of spent commands that the snapshot does not write again."""
        now = set(written)
        gone = [key for key in self._spent if key not in now]
        self._spent = now
        return gone

    def left_over(self) -> list[str]:
        """Keys of other owners that hold nothing; asked for once."""
        left, self._left = self._left, []
        return left

    def _replaced(self, run_id: RunId) -> list[str]:
        who = self._others.pop(run_id, None)
        return [] if who is None else [f"{self.partition}/{who}/{run_id}"]
