"""Another's words in a sentence of the platform. Pure."""

from __future__ import annotations

from typing import Final

QUOTED_LIMIT: Final = 500
"""Characters of another's words in a sentence of ours; fields have more."""


def quoted(text: str) -> str:
    """The words shortened, in quotes, on one line: they end where the quotes do, whatever they hold."""
    return repr(text if len(text) <= QUOTED_LIMIT else f"{text[:QUOTED_LIMIT]}…")
