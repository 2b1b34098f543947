"""How an agent declares itself: what it asks for, and what of that is granted at once. Pure; see ``decide``."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from agents_sdk.core import kinds
from agents_sdk.core.commands import Command
from agents_sdk.core.facts import AgentEvent
from agents_sdk.core.identity import OPERATOR, reserved
from agents_sdk.core.ledger import budgets, divergence, retry, rights, room, seen_commands
from agents_sdk.core.ledger.scribe import FactBuilder, Refusal
from agents_sdk.core.ledger.state import PartitionState

AGENT_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")
"""It becomes part of a topic's name: Kafka allows these characters, and 249 of them."""


def register(book: PartitionState, command: Command, scribe: FactBuilder) -> None:
    """RegisterAgent → AgentRegistered, and RightsGranted where the declaration is granted with it; nothing where it is
    so already."""
    spec = command.registration
    if spec is None:
        raise Refusal("invalid_command", "RegisterAgent needs the body 'registration'", field="registration")
    if command.run_id:
        raise Refusal("invalid_command", "RegisterAgent is about no run; its run_id is empty", field="run_id")
    if not AGENT_NAME.fullmatch(spec.name) or reserved(spec.name):
        message = f"an agent's name is 1 to 200 of A-Z a-z 0-9 . _ - and starts with none of . - bp., not {spec.name!r}"
        raise Refusal("invalid_command", message, field="name")
    if command.agent not in (spec.name, OPERATOR):
        message = f"{command.agent!r} may not register {spec.name!r}: an agent declares itself, or {OPERATOR} does"
        raise Refusal("scope", message, rule="name", name=spec.name)
    budgets.check(spec.budget_nano_usd)
    for pattern, amount in spec.call_budgets.items():
        budgets.check(amount, f"call_budgets[{pattern[:500]!r}]")
    retry.check(spec.retries)
    if spec.on_divergence not in ("", *divergence.ON_DIVERGENCE):
        message = f"on_divergence is one of {', '.join(divergence.ON_DIVERGENCE)}, not {spec.on_divergence!r}"
        raise Refusal("invalid_command", message, field="on_divergence")
    fields = msgspec.structs.asdict(spec)
    del fields["operator"]
    fields["max_deliveries"] = spec.max_deliveries or 3
    known = book.agents.get(spec.name)
    if known is None:
        room.check_count("agents", len(book.agents), room.AGENTS_LIMIT)
    granting = rights.on_registration(book, command.agent, spec)
    if known is None or any(
        tuple(value) != getattr(known, field) if isinstance(value, list) else value != getattr(known, field)
        for field, value in fields.items()
    ):
        if book.identity_required and seen_commands.seen(book.spent, command.command_id, command.agent):
            raise seen_commands.replayed(command)  # an older declaration of this agent, from the log
        if book.rights_required and granting is None:
            fields["not_granted"] = rights.not_granted(spec, book.grants.get(spec.name))
        scribe.write(AgentEvent, kinds.AGENT_REGISTERED, **fields)
    if granting is not None:
        scribe.write(AgentEvent, kinds.RIGHTS_GRANTED, name=spec.name, **granting)
