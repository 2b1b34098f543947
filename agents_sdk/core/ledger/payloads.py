"""The demands on a payload before anything is decided on it: JSON, within the size limit, not nested too deep. Pure.

Every check has the same result wherever and however deep in the stack it runs, so that a replay decides the same.
"""

from __future__ import annotations

import re
from itertools import accumulate

import msgspec

from agents_sdk.core.ledger.scribe import Refusal
from agents_sdk.core.ledger.state import Limits

NESTING_LIMIT = 200
"""Arrays and objects inside each other. JSON parsers recurse. At about 1,000 levels they raise RecursionError, sooner
the deeper the caller's stack is. That would stop the partition and be decided differently by a replay."""
_BRACKETS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]')
_STEP = {"[": 1, "{": 1, "]": -1, "}": -1}


def check(limits: Limits, field: str, text: str) -> None:
    """Raises Refusal unless the text is JSON within the limits."""
    # characters are at most 4 bytes: the exact count is made only where it can matter
    if len(text) * 4 > limits.max_value_bytes:
        size, limit = len(text.encode()), limits.max_value_bytes
        if size > limit:
            raise Refusal("oversize", f"{field} has {size} bytes, the limit is {limit}", size=size, limit=limit)
    if text.count("[") + text.count("{") > NESTING_LIMIT and nesting(text) > NESTING_LIMIT:
        raise Refusal("invalid_command", f"{field} nests deeper than {NESTING_LIMIT} levels", field=field)
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except msgspec.DecodeError as error:
        raise Refusal("invalid_command", f"{field} is not JSON: {error}", field=field) from error


def nesting(text: str) -> int:
    """Most brackets open at once, those in strings not counted."""
    return max(accumulate(_STEP.get(token, 0) for token in _BRACKETS.findall(text)), default=0)
