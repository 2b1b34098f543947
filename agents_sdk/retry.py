"""How a message is tried again when its handler failed. Pure declaration; see ``agents_sdk.core.ledger.retry``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from agents_sdk.core import ids
from agents_sdk.core.ledger.retry import ATTEMPTS_LIMIT, FACTOR_LIMIT, WAIT_LIMIT_MS

LIMIT_S: Final = WAIT_LIMIT_MS / 1_000


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a message is tried, and the waits in between. They are ``initial_seconds`` after the first failure,
    ``factor`` times as long after each further one, never longer than ``max_seconds``. Up to the part ``jitter`` of
    each wait is taken off by chance, so that what failed together is not tried again together. The waits survive
    whatever process ends: they are on the record.

    ``Retry(initial_seconds=0)`` tries again at once.

    Raises:
        ValueError: a field is out of its bounds; the text says what they are.
    """

    attempts: int | None = None
    """The first one included; None: the agent's ``max_deliveries``."""
    initial_seconds: float = 1.0
    factor: float = 2.0
    max_seconds: float = 60.0
    jitter: float = 0.2
    """0 to 1."""

    def __post_init__(self) -> None:
        if self.attempts is not None and (type(self.attempts) is not int or not 1 <= self.attempts <= ATTEMPTS_LIMIT):
            raise ValueError(f"retry attempts is {self.attempts!r}; use an integer of 1 to {ATTEMPTS_LIMIT}, or None")
        for name, least, most in (
            ("initial_seconds", 0, LIMIT_S),
            ("factor", 1, FACTOR_LIMIT / 100),
            ("max_seconds", 0, LIMIT_S),
            ("jitter", 0, 1),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
                raise ValueError(f"retry {name} is {value!r}; use a number from {least:g} to {most:g}")

    def policy(self) -> str:
        """As the ledger gets it: JSON."""
        return ids.canonical(
            {
                "attempts": self.attempts or 0,
                "initial_ms": round(self.initial_seconds * 1_000),
                "factor_percent": round(self.factor * 100),
                "max_ms": round(self.max_seconds * 1_000),
                "jitter_percent": round(self.jitter * 100),
            }
        )
