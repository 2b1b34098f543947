"""The real sender of a command, and which keys count. Pure; see ``decide`` for the law.

The shell checks the signature, since that takes the master key, and hands in what it found as a value (``Proof``). The
book alone decides here: whether identity is required, which generation of a key is valid, and whether the command is of
now. So a replay without the master key decides the same from the recorded refusals.
"""

from __future__ import annotations

from typing import Final

from agents_sdk.core import ids, kinds
from agents_sdk.core.commands import ABOUT_NO_RUN, Command, KeyBody
from agents_sdk.core.facts import AgentEvent, RefusalEvent
from agents_sdk.core.identity import CODES, LEDGER, OPERATOR, Proof, reserved
from agents_sdk.core.ids import CommandId, RunId
from agents_sdk.core.ledger.changes import Changes
from agents_sdk.core.ledger.scribe import FactBuilder, Refusal
from agents_sdk.core.ledger.seen_commands import WINDOW_US, seen
from agents_sdk.core.ledger.state import KeyState, PartitionState

FIRST: Final = KeyState()
"""Of a name that nobody issued a key to by command: its first generation is valid."""
NAME_SHOWN: Final = 200
"""Characters of a name that a fact keeps."""
GRACE_LIMIT_MS: Final = 30 * 86_400_000
"""A month: a longer grace period is a mistake in the unit."""
SENDERS: Final = {kinds.ISSUE_KEY: OPERATOR, kinds.REVOKE_KEY: OPERATOR, kinds.REQUIRE_IDENTITY: LEDGER}
"""Kinds about identity itself, each with its only sender."""
ALWAYS_SIGNED: Final = frozenset({*SENDERS, kinds.GRANT_RIGHTS, kinds.REQUIRE_GRANTS})
"""Kinds that need a good signature whether or not others do."""


def check(book: PartitionState, command: Command, at: int, proof: Proof) -> None:
    """Returns when the command is from whom it says it is, and of now. Raises Refusal with one of ``CODES``."""
    if proof is Proof.MISPLACED:
        message = "the command lies in a partition that is not its run's: a copy, or a client with another partitioner"
        raise Refusal("misplaced", message, run_id=command.run_id)
    if not book.identity_required and command.kind not in ALWAYS_SIGNED:
        return
    name, generation = command.agent[:200], command.key_generation
    if proof is Proof.UNSIGNED:
        raise Refusal("unauthenticated", f"the command is not signed by {name!r}", agent=name)
    if proof is Proof.FORGED:
        raise Refusal("forged", f"the signature is not that of {name!r}, generation {generation}", agent=name)
    if reserved(command.agent) and not _of_now(command):
        # The platform's own commands may be old: an outcome waits for as long as the broker is away. Each is applied
        # once by what it says (attempt, call, timer, generation), so it needs no window.
        return
    known = book.keys.get(command.agent, FIRST)
    if not reserved(command.agent) and not _valid(known, generation, at):
        raise Refusal(
            "revoked",
            f"generation {generation} of the key of {name!r} is not valid; the newest is {known.generation}"
            f"{', which is revoked' if known.revoked else ''}",
            agent=name,
            generation=generation,
            newest=known.generation,
        )
    skew = command.issued_at - at
    if abs(skew) > WINDOW_US:
        side = "ahead of" if skew > 0 else "behind"
        message = f"the command's time is {abs(skew) / 1e6:.1f} s {side} the broker's; at most 120 s are allowed"
        raise Refusal("stale", message, agent=name, skew_us=skew)


def repeated(book: PartitionState, command: Command) -> bool:
    """Whether a command about no run was applied before: it is a copy from the log, or came again because its answer
    was lost. Not of a registration, which changes nothing where it says the same, and is refused where it does not."""
    about_none = command.kind in ABOUT_NO_RUN or command.breaker is not None
    if not book.identity_required or not about_none or command.kind == kinds.REGISTER_AGENT:
        return False
    return seen(book.spent, command.command_id, command.agent)


def _of_now(command: Command) -> bool:
    """Whether a copy of the command from the log could take effect again, though its sender is one of the platform's
    own. Such a command describes the present (who is registered, which breaker is open), and so it must be of now."""
    return command.kind != kinds.REQUIRE_IDENTITY and (command.kind in ABOUT_NO_RUN or command.breaker is not None)


def _valid(known: KeyState, generation: int, at: int) -> bool:
    if generation == known.generation:
        return not known.revoked
    return 0 < generation == known.generation - 1 and at < known.previous_ends_at


def required(partition: int) -> Command:
    """The first command of a ledger that can check signatures, in a partition: from there on they are required."""
    return Command(
        command_id=CommandId(ids.derive(kinds.REQUIRE_IDENTITY, str(partition))),
        kind=kinds.REQUIRE_IDENTITY,
        run_id=RunId(""),
        agent=LEDGER,
        correlation_id="",
        key=KeyBody(),
    )


def manage(book: PartitionState, command: Command, scribe: FactBuilder) -> None:
    """IssueKey → AgentKeyIssued, RevokeKey → AgentKeyRevoked, RequireIdentity → IdentityRequired; nothing where it is
    so already."""
    body = command.key
    if body is None:
        raise Refusal("invalid_command", f"{command.kind} needs the body 'key'", field="key")
    if command.run_id:
        raise Refusal("invalid_command", f"{command.kind} is about no run; its run_id is empty", field="run_id")
    only = SENDERS[command.kind]
    if command.agent != only:
        raise Refusal("scope", f"only {only} may send {command.kind}, not {command.agent!r}", rule="keys")
    if command.kind == kinds.REQUIRE_IDENTITY:
        if not book.identity_required:
            scribe.write(AgentEvent, kinds.IDENTITY_REQUIRED, name="")
        return
    if not body.name or len(body.name) > 200 or reserved(body.name):
        message = f"a key is issued to a name of 1 to 200 characters that does not start with bp., not {body.name!r}"
        raise Refusal("invalid_command", message, field="name")
    known = book.keys.get(body.name)
    if command.kind == kinds.ISSUE_KEY:
        _issue(known, body, scribe)
    else:
        _revoke(known or FIRST, body, scribe)


def _issue(known: KeyState | None, body: KeyBody, scribe: FactBuilder) -> None:
    present = known or FIRST
    if not 0 <= body.grace_ms <= GRACE_LIMIT_MS:
        message = f"a grace period has 0 to {GRACE_LIMIT_MS} ms, not {body.grace_ms}"
        raise Refusal("invalid_command", message, field="grace_ms")
    if body.generation == present.generation and not present.revoked:
        if known is None:
            scribe.write(
                AgentEvent,
                kinds.AGENT_KEY_ISSUED,
                name=body.name,
                key_generation=body.generation,
                operator=body.operator[:NAME_SHOWN],
            )
        return
    if body.generation != present.generation + 1:
        message = f"the next generation of {body.name!r} is {present.generation + 1}, not {body.generation}"
        raise Refusal("invalid_command", message, field="generation", newest=present.generation)
    ends_at = scribe.at + body.grace_ms * 1_000 if body.grace_ms and not present.revoked else 0
    scribe.write(
        AgentEvent,
        kinds.AGENT_KEY_ISSUED,
        name=body.name,
        key_generation=body.generation,
        previous_ends_at=ends_at,
        operator=body.operator[:NAME_SHOWN],
    )


def _revoke(present: KeyState, body: KeyBody, scribe: FactBuilder) -> None:
    """An invalid key is named by its generation, so that the command, sent again later, does not take a newer key
    away."""
    if body.generation > present.generation:
        message = f"{body.name!r} has no generation {body.generation}; the newest is {present.generation}"
        raise Refusal("invalid_command", message, field="generation", newest=present.generation)
    if _valid(present, body.generation, scribe.at):
        scribe.write(
            AgentEvent,
            kinds.AGENT_KEY_REVOKED,
            name=body.name,
            key_generation=body.generation,
            operator=body.operator[:NAME_SHOWN],
        )


def count(book: PartitionState, fact: RefusalEvent, changes: Changes) -> None:
    """Counts a refusal for want of identity, once."""
    if fact.code in CODES and fact.command_offset > book.refused_at:
        changes.put(book.refused, fact.code, book.refused.get(fact.code, 0) + 1)
        changes.assign(book, "refused_at", fact.command_offset)


def fold(book: PartitionState, fact: AgentEvent, changes: Changes) -> None:
    """Folds a fact about keys."""
    if fact.kind == kinds.IDENTITY_REQUIRED:
        changes.assign(book, "identity_required", True)
        return
    known = book.keys.get(fact.name)
    if known is not None and fact.command_offset <= known.command_offset:
        return
    if fact.kind == kinds.AGENT_KEY_ISSUED:
        state = KeyState(
            generation=fact.key_generation,
            previous_ends_at=fact.previous_ends_at,
            command_offset=fact.command_offset,
        )
    else:
        present = known or FIRST
        state = KeyState(
            generation=present.generation,
            revoked=present.revoked or fact.key_generation == present.generation,
            command_offset=fact.command_offset,
        )
    changes.put(book.keys, fact.name, state)
