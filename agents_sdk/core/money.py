"""Money: an int of nano-USD inside, ``"0.40 USD"`` where people write it. Pure, exact: no float comes near it."""

from __future__ import annotations

import re
from typing import Final

NANO: Final = 1_000_000_000
NO_LIMIT: Final = -1
"""Instead of a budget: as much as it likes. A budget of 0 allows what costs nothing."""
LIMIT: Final = 1_000_000 * NANO
"""A larger budget is a mistake in the unit."""
AMOUNT: Final = re.compile(r"(\d{1,7})(?:\.(\d{1,9}))? ?USD", re.ASCII)


def parse(text: str, what: str = "budget") -> int:
    """Nano-USD of an amount such as ``"0.40 USD"``. Raises ValueError, which names ``what`` and quotes the text."""
    found = AMOUNT.fullmatch(str(text).strip())
    amount = int(found[1]) * NANO + int((found[2] or "").ljust(9, "0")) if found else LIMIT + 1
    if amount > LIMIT:
        rule = 'US dollars up to a million, with at most nine decimals, such as "0.40 USD"'
        raise ValueError(f"{what} is {text!r}; write {rule}")
    return amount


def usd(nano_usd: int) -> str:
    """The amount as people write it, exactly: ``"0.4 USD"``."""
    whole, rest = divmod(abs(nano_usd), NANO)
    decimals = f".{rest:09}".rstrip("0").rstrip(".")
    return f"{'-' if nano_usd < 0 else ''}{whole}{decimals} USD"


def dollars(nano_usd: int) -> str:
    """The amount as tables show it, exactly: ``$0.40``, at least two decimals."""
    whole, rest = divmod(abs(nano_usd), NANO)
    return f"{'-' if nano_usd < 0 else ''}${whole}.{f'{rest:09}'.rstrip('0').ljust(2, '0')}"
