"""Commands whose fields are beyond their bounds, and the refusal of what cannot be written as part of its run. Pure."""

from __future__ import annotations

from typing import Any, Final

from agents_sdk.core import bounds, ids, kinds
from agents_sdk.core.commands import Command
from agents_sdk.core.facts import RefusalEvent
from agents_sdk.core.identity import LEDGER
from agents_sdk.core.ids import CommandId, RunId
from agents_sdk.core.ledger.scribe import TEXT_LIMIT, Refusal
from agents_sdk.core.ledger.sizes import SHORT, writable

ENVELOPE_LIMIT: Final = 4_096
"""Characters of all ids and names of a command together; of each alone: see ``bounds``."""


def of_envelope(command: Command, offset: int, at: int) -> RefusalEvent | None:
    """The refusal of a command whose ids or names are too long to be repeated in facts; None for any other one."""
    broken = bounds.envelope_excess(command)
    return passed_over(command, offset, at, "invalid_command", broken.message, _fields(broken)) if broken else None


def check_bounds(command: Command) -> None:
    """Returns where each field is within its bound. Raises Refusal, which names the field. Ids and names are repeated
    in every fact, so they are short together, and a command without an id could not be repeated."""
    if not command.command_id:
        raise Refusal("invalid_command", "a command needs a command_id", field="command_id")
    size = len(command.command_id) + len(command.run_id) + len(command.agent) + len(command.reply_to)
    size += len(command.correlation_id) + len(command.causation_id) + len(command.delivery_id)
    if size > ENVELOPE_LIMIT:
        message = f"ids and names of a command have at most {ENVELOPE_LIMIT} characters together, not {size}"
        raise Refusal("invalid_command", message, field="command_id")
    broken = bounds.excess(command)
    if broken is None:
        return
    if broken.prose:
        hint = "keep it in an artifact and refer to it"
        raise Refusal("oversize", f"{broken.message}; {hint}", **_fields(broken), size=broken.size)
    raise Refusal("invalid_command", broken.message, **_fields(broken))


def _fields(broken: bounds.Excess) -> dict[str, Any]:
    return {"field": broken.field, "value": broken.shown, "limit": broken.limit}


def passed_over(
    command: Command, offset: int, at: int, code: str, message: str, detail: dict[str, Any]
) -> RefusalEvent:
    """The fact; each text of it is cut to what it may have. A run's id beyond its bound is no run's, and left out."""
    if command.kind == kinds.START_RUN and command.agent == LEDGER and command.run is not None:
        # the receiver of the news: see ``issued``
        detail = detail | {"parent_run_id": writable(command.run.parent_run_id, bounds.ID_LIMIT)}
    run_id = writable(command.run_id, bounds.ID_LIMIT) if len(command.run_id) <= bounds.ID_LIMIT else ""
    return RefusalEvent(
        event_id=ids.derive(writable(command.command_id, len(command.command_id)), f"{run_id}@{offset}"),
        kind=kinds.COMMAND_REFUSED,
        run_id=RunId(run_id),
        run_seq=0,
        correlation_id=_cut(command.correlation_id),
        causation_id=_cut(command.causation_id),
        agent=_cut(command.agent),
        at=at,
        command_id=CommandId(_cut(command.command_id)),
        command_offset=offset,
        command_kind=writable(command.kind, SHORT),
        code=code,
        message=writable(message, TEXT_LIMIT),
        detail=ids.canonical(detail) if detail else "",
    )


def _cut(text: str) -> str:
    """Ids within their bound stay whole: others refer to them."""
    return writable(text, bounds.ID_LIMIT if len(text) <= bounds.ID_LIMIT else SHORT)
