"""Which answers a client believes. Pure; the keys come in with each command that was sent.

A client with a key believes the answers that the ledger has proven to it. It believes one thing without proof: that its
key is not the right one. That is believed only as long as nothing was ever proven by this key, and only when nothing
better comes. Law: a sender without the client's keys cannot make it believe an answer once it has received a proven
one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Final, NamedTuple

from agents_sdk.core.facts import Reply
from agents_sdk.core.identity import CODES
from agents_sdk.keys import Key
from agents_sdk.wire.proof import sealer

UNPROVABLE: Final = frozenset({"unauthenticated", "forged", "misplaced"})
"""Codes of refusals for a sender without a proof."""


class Verdict(Enum):
    """The treatment of an answer."""

    BELIEVED = "believed"
    DOUBTFUL = "doubtful"
    """It is taken when nothing better comes soon."""
    REFUSED = "refused"
    """It is passed over."""


class SentCommand(NamedTuple):
    """One sending of a command."""

    issued_at: int
    """As its record says, microseconds UTC."""
    name: str
    generation: int
    answers: bytes
    """The key that proves the answer; empty: it was not signed."""

    @classmethod
    def by(cls, key: Key | None, issued_at: int) -> SentCommand:
        """A command that was signed with this key."""
        return cls(issued_at, "", 0, b"") if key is None else cls(issued_at, key.name, key.generation, key.answers)


class Answers:
    """The answers that one client gets."""

    def __init__(self, client_id: str) -> None:
        self._client_id = client_id
        self._proven: set[tuple[str, int]] = set()
        """Name and generation of the keys by which the ledger has proven an answer."""

    def judge(self, data: bytes, reply: Reply, asked: Sequence[SentCommand]) -> Verdict:
        """The step for an answer. ``data`` are its bytes, ``asked`` the sendings of the command, the newest last."""
        signed = [each for each in asked if each.answers]
        if not signed:
            return Verdict.BELIEVED
        refusal_code = reply.code if reply.status == "refused" and reply.code in CODES else ""
        proof = next((each for each in reversed(signed) if sealer(each.answers).genuine(data)), None)
        if proof is not None and reply.reply_to == self._client_id:
            self._proven.add((proof.name, proof.generation))
            # one that is about an older sending, or a copy of it, says nothing of the newest
            about_another = bool(refusal_code) and reply.issued_at != asked[-1].issued_at
            return Verdict.REFUSED if about_another else Verdict.BELIEVED
        return Verdict.DOUBTFUL if refusal_code in UNPROVABLE and not self.proven(signed) else Verdict.REFUSED

    def proven(self, asked: Iterable[SentCommand]) -> bool:
        """Whether the ledger has ever proven an answer by one of these keys."""
        return any((each.name, each.generation) in self._proven for each in asked)
