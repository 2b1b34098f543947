"""SkipRecord: an operator says what becomes of a record at which workers died. Pure; see ``decide`` for the law.

The ledger that stands still before the record looks for this command after it, and refuses the record
(``backplane.ledger.aside``). In its own place in the order the command changes nothing: here it is only checked, and
answered.
"""

from __future__ import annotations

from typing import Final

from agents_sdk.core import kinds
from agents_sdk.core.commands import Command
from agents_sdk.core.identity import OPERATOR
from agents_sdk.core.ledger.scribe import TEXT_LIMIT, FactBuilder, Refusal
from agents_sdk.core.ledger.state import PartitionState

KIND: Final = kinds.SKIP_RECORD


def decide(book: PartitionState, command: Command, scribe: FactBuilder) -> None:
    """Nothing, or a refusal."""
    body = command.skip
    if body is None:
        raise Refusal("invalid_command", f"{KIND} needs the body 'skip'", field="skip")
    if command.run_id:
        raise Refusal("invalid_command", f"{KIND} is about no run; its run_id is empty", field="run_id")
    if command.agent != OPERATOR:
        raise Refusal("scope", f"only {OPERATOR} may send {KIND}, not {command.agent!r}", rule="operator")
    if not 0 < len(body.reason) <= TEXT_LIMIT:
        message = f"a reason has 1 to {TEXT_LIMIT} characters, not {len(body.reason)}"
        raise Refusal("invalid_command", message, field="reason")
