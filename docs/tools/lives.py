"""Diagrams of the lives of a run, a delivery and a call, drawn from the tables by which the ledger folds facts.

``python -m docs.tools.lives`` writes them into ARCHITECTURE.md, between the marks. A test holds the drawn diagrams
equal to the tables, and follows the facts of recorded and generated histories along their arrows.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from agents_sdk.core.kinds import RUN_ENDS
from agents_sdk.core.ledger.evolve import FOLDS

PAGE: Final = Path(__file__).parents[2] / "ARCHITECTURE.md"
BEGIN: Final = "[*]"
"""Mermaid's word for the state before the first fact."""


class Move(NamedTuple):
    """An arrow: a fact of this kind leads from one state to another."""

    kind: str
    before: str
    after: str


def _like(*examples: str) -> list[str]:
    """The kinds of facts that the ledger folds as it folds one of these, in the order of its table."""
    folds = [FOLDS[kind] for kind in examples]
    return [kind for kind, fold in FOLDS.items() if fold in folds]


def run_moves() -> list[Move]:
    """A run: the ends are those of the table ``RUN_ENDS``."""
    ends = [Move(kind, "live", status) for kind, status in RUN_ENDS.items()]
    return [Move("RunStarted", BEGIN, "live"), *(Move(kind, "live", "live") for kind in _like("RunResumed")), *ends]


OUTCOMES: Final = {
    "HandlerCompleted": "handled",
    "MessageDeadLettered": "dead_letter",
    "CallCompleted": "completed",
    "CallFailed": "failed",
}
"""Kind of an outcome → the state that it leads to."""


def delivery_moves() -> list[Move]:
    """A delivery: a message in the inbox of one agent."""
    return [
        *(Move(kind, BEGIN, "open") for kind in _like("MessageDelivered")),
        *(Move(kind, "open", "open") for kind in (*_like("MessageDelivered"), "HandlerStarted", "HandlerFailed")),
        *(Move(kind, "open", OUTCOMES[kind]) for kind in _like("HandlerCompleted")),
        Move("DeliveryCancelled", "open", "cancelled"),
        *(Move(kind, "open", "parked") for kind in _like("MessageParked")),
        Move("MessageContinued", "parked", "open"),
        *(Move(kind, before, "open") for kind in _like("MessageRestarted") for before in ("parked", "open")),
        Move("MessageDeadLettered", "parked", "dead_letter"),
        Move("DeliveryCancelled", "parked", "cancelled"),
        *(Move(kind, "dead_letter", "redriven") for kind in _like("MessageRedriven")),
        Move("MessageDiscarded", "dead_letter", "discarded"),
    ]


def call_moves() -> list[Move]:
    """A call of a capability. Its attempts are facts of their own: they change what it cost, not its state."""
    return [
        *(Move(kind, BEGIN, "open") for kind in _like("CallRequested")),
        *(Move(kind, "open", "open") for kind in _like("CallAwaited", "AttemptStarted", "AttemptSucceeded")),
        *(Move(kind, "open", OUTCOMES[kind]) for kind in _like("CallCompleted")),
        Move("CallCancelled", "open", "cancelled"),
        *(Move(kind, "failed", "redriven") for kind in _like("CallRedriven")),
        Move("CallDiscarded", "failed", "discarded"),
    ]


LIVES: Final[dict[str, Callable[[], list[Move]]]] = {
    "run": run_moves,
    "delivery": delivery_moves,
    "call": call_moves,
}


def drawn(moves: list[Move]) -> str:
    """The moves as a Mermaid diagram; kinds that lead the same way share an arrow."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for move in moves:
        arrows.setdefault((move.before, move.after), []).append(move.kind)
    lines = [f"    {before} --> {after}: {', '.join(kinds)}" for (before, after), kinds in arrows.items()]
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, "```"])


def with_diagrams(page: str) -> str:
    """The page with the diagram of each life between its marks. Raises KeyError for a mark of no life."""

    def diagram(found: re.Match[str]) -> str:
        name: Any = found["name"]
        return f"<!-- life of a {name} -->\n{drawn(LIVES[name]())}\n<!-- end -->"

    return re.sub(r"<!-- life of a (?P<name>\w+) -->\n.*?<!-- end -->", diagram, page, flags=re.DOTALL)


if __name__ == "__main__":
    PAGE.write_text(with_diagrams(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
