"""Rights: an agent declares what it asks for, an operator grants, and it may do what is in both. Pure; see ``decide``.

Rights come through the log: ``RightsGranted`` says what a name may do, ``GrantsRequired`` that nothing else is allowed.
Before that fact a partition decides as it did when declarations were believed, so older runs replay as they were.
Earlier declarations stay granted. A client has no declaration: its rights are those that were granted to it.

Law: a name that is neither registered nor a client with rights changes nothing, whatever it sends, but that it may ask
to be registered.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec

from agents_sdk.core import ids, kinds
from agents_sdk.core.commands import Command, GrantBody, RegistrationBody
from agents_sdk.core.facts import AgentEvent
from agents_sdk.core.identity import EXECUTOR, LEDGER, OPERATOR, reserved
from agents_sdk.core.ids import CommandId, RunId
from agents_sdk.core.ledger import budgets, room
from agents_sdk.core.ledger.changes import Changes
from agents_sdk.core.ledger.rules import ALL, RIGHTS, declared
from agents_sdk.core.ledger.scribe import FactBuilder, Refusal
from agents_sdk.core.ledger.state import AgentSpec, Grant, PartitionState, Run
from agents_sdk.core.money import NO_LIMIT

NONE: Final = "none"
FIRST: Final = "first"
EVERY: Final = "all"
POLICIES: Final = (NONE, FIRST, EVERY)
"""Which declarations are granted without an operator: none, that of a name which is not known yet, or every one."""
SENDERS: Final = {kinds.GRANT_RIGHTS: OPERATOR, kinds.REQUIRE_GRANTS: LEDGER}
"""Kinds about rights, each with its only sender; they need a good signature whether or not others do."""
SENDS: Final[Mapping[str, frozenset[str] | None]] = {
    OPERATOR: None,
    LEDGER: frozenset(
        {
            kinds.TIMER_FIRED,
            kinds.REPORT_CHILD,
            kinds.START_RUN,
            kinds.CANCEL_RUN,
            kinds.REQUIRE_IDENTITY,
            kinds.REQUIRE_GRANTS,
        }
    ),
    EXECUTOR: frozenset(
        {
            *kinds.BY_EXECUTOR,
            *kinds.OF_BREAKERS,
        }
    ),
}
"""The platform's own names → the kinds that each may send; None: all. Other reserved names send no commands."""
FIRST_DECLARATION: Final = "first declaration"
EVERY_DECLARATION: Final = "every declaration is granted"
BEFORE: Final = "declared before rights were required"
"""The author of a grant, where it was no person."""
NAME_LIMIT: Final = 200


def check_standing(book: PartitionState, command: Command) -> None:
    """Returns when the sender may say something at all. Raises Refusal."""
    if not book.rights_required:
        return
    agent = command.agent
    if reserved(agent):
        may_send = SENDS.get(agent, frozenset())
        if may_send is not None and command.kind not in may_send:
            raise Refusal("scope", f"{agent!r} may not send {command.kind[:NAME_LIMIT]}", rule="platform")
        return
    grant = book.grants.get(agent)
    if (grant is not None and (grant.client or agent in book.agents)) or command.kind == kinds.REGISTER_AGENT:
        return
    name = agent[:NAME_LIMIT]
    why = "it declared itself, and nothing was granted" if agent in book.agents else "it is not registered"
    raise Refusal("not_granted", f"{name!r} may do nothing here: {why}", agent=name)


def check_id(book: PartitionState, run: Run | None, command: Command) -> None:
    """A command's id is its sender's. Another one that knows it does not get the answer to it, nor may it send the
    answer elsewhere. Nobody takes one from the platform's own commands, whose ids follow from what everybody may know;
    see ``answered_as``."""
    if reserved(command.agent):
        return
    sender = run.sender_of(command.command_id) if run is not None else ""
    finished = book.finished.get(command.run_id) if run is None else None
    answer = finished.answers.get(command.command_id) if finished is not None else None
    sender = sender or (answer.agent if answer is not None else "")
    if sender and sender != command.agent:
        message = f"command {command.command_id[:NAME_LIMIT]} is another sender's; a command has an id of its own"
        raise Refusal("id_taken", message, command_id=command.command_id)


def asked(spec: RegistrationBody | AgentSpec) -> dict[str, list[str]]:
    """Right → the globs that a declaration asks for."""
    return {right: list(declared(spec, right)) for right in RIGHTS}


def _granting(spec: RegistrationBody | AgentSpec, grant: Grant | None, operator: str) -> dict[str, Any]:
    """The fields of a grant of what is declared, besides what was granted before."""
    wanted = asked(spec)
    fields: dict[str, Any] = {
        right: list(dict.fromkeys((*(getattr(grant, right) if grant is not None else ()), *wanted.get(right, ()))))
        for right in (*RIGHTS, "contracts")
    }
    limits = (spec.budget_nano_usd, *((grant.budget_nano_usd,) if grant is not None else ()))
    return {
        **fields,
        "budget_nano_usd": NO_LIMIT if NO_LIMIT in limits else max(limits),
        "roles": list(grant.roles) if grant is not None else [],
        "client": grant is not None and grant.client,
        "operator": operator,
    }


def granting(spec: RegistrationBody | AgentSpec, grant: Grant | None) -> GrantBody:
    """The grant of what is declared, besides what was granted before, as an operator would say it."""
    fields = {field: value for field, value in _granting(spec, grant, "").items() if field != "operator"}
    return GrantBody(name=spec.name, **fields)


def on_registration(book: PartitionState, sender: str, spec: RegistrationBody) -> dict[str, Any] | None:
    """The fields of the grant that a registration brings; None: it brings none."""
    grant = book.grants.get(spec.name)
    if not book.rights_required or (grant is not None and not not_granted(spec, grant)):
        return None
    if sender == OPERATOR:
        return _granting(spec, grant, OPERATOR)
    if book.policy == EVERY:
        return _granting(spec, grant, EVERY_DECLARATION)
    known = grant is not None or spec.name in book.agents or spec.name in book.removed
    return _granting(spec, None, FIRST_DECLARATION) if book.policy == FIRST and not known else None


def not_granted(spec: RegistrationBody | AgentSpec, grant: Grant | None) -> list[str]:
    """Wishes of a declaration beyond the grant, each as ``<right> <glob>``. A glob that is granted in part is among
    them; what it grants holds all the same."""
    missing = [
        f"{right} {glob}"
        for right, globs in asked(spec).items()
        for glob in globs
        if not covered(glob, getattr(grant, right) if grant is not None else ())
    ]
    if grant is not None and over(spec.budget_nano_usd, grant.budget_nano_usd):
        missing.append(f"budget_nano_usd {spec.budget_nano_usd}")
    return missing


def over(amount: int, limit: int) -> bool:
    """Whether an amount is above a limit; either may be ``NO_LIMIT``."""
    return limit != NO_LIMIT and (amount == NO_LIMIT or amount > limit)


def withheld(book: PartitionState, name: str) -> list[str]:
    """The part of the agent's declaration that was not granted; empty where it has all, or nobody has to be granted
    anything."""
    spec = book.agents.get(name)
    return not_granted(spec, book.grants.get(name)) if spec is not None and book.rights_required else []


@lru_cache(maxsize=16_384)
def covered(glob: str, patterns: tuple[str, ...]) -> bool:
    """Whether every name that the glob matches is matched by one of the patterns. A yes is certain; a no may be wrong
    for globs with brackets, and where only several patterns together match all."""
    return any(pattern in (ALL, glob) or _within(glob, pattern) for pattern in patterns)


def _within(glob: str, wider: str) -> bool:
    if "[" in glob or "[" in wider:
        return False
    # a star of the inner glob is a character that only a star of the wider one takes
    parts = {"*": "(?s:.*)", "?": "[^\0]"}
    pattern = "".join(parts.get(char, re.escape(char)) for char in wider)
    return re.fullmatch(pattern, glob.replace("*", "\0")) is not None


def required(partition: int, policy: str, after: int = -1) -> Command:
    """The command of a ledger that can check signatures, in a partition: from there on rights are granted, by this
    policy. ``after``: the last offset applied, so that it is another command each time."""
    return Command(
        command_id=CommandId(ids.derive(kinds.REQUIRE_GRANTS, f"{partition}/{policy}/{after}")),
        kind=kinds.REQUIRE_GRANTS,
        run_id=RunId(""),
        agent=LEDGER,
        correlation_id="",
        grant=GrantBody(policy=policy),
    )


def manage(book: PartitionState, command: Command, scribe: FactBuilder) -> None:
    """GrantRights → RightsGranted, RequireGrants → GrantsRequired; nothing where it is so already."""
    body = command.grant
    if body is None:
        raise Refusal("invalid_command", f"{command.kind} needs the body 'grant'", field="grant")
    if command.run_id:
        raise Refusal("invalid_command", f"{command.kind} is about no run; its run_id is empty", field="run_id")
    only = SENDERS[command.kind]
    if command.agent != only:
        raise Refusal("scope", f"only {only} may send {command.kind}, not {command.agent!r}", rule="grants")
    if command.kind == kinds.GRANT_RIGHTS:
        _grant(book, body, scribe)
        return
    if body.policy not in POLICIES:
        message = f"policy is {body.policy[:NAME_LIMIT]!r}; use one of {', '.join(POLICIES)}"
        raise Refusal("invalid_command", message, field="policy")
    if not book.rights_required or book.policy != body.policy:
        scribe.write(AgentEvent, kinds.GRANTS_REQUIRED, name="", policy=body.policy)


def _grant(book: PartitionState, body: GrantBody, scribe: FactBuilder) -> None:
    name = body.name
    if not name or len(name) > NAME_LIMIT or reserved(name):
        message = f"rights are granted to a name of 1 to 200 characters that does not start with bp., not {name!r}"
        raise Refusal("invalid_command", message, field="name")
    budgets.check(body.budget_nano_usd)
    for right in (*RIGHTS, "contracts", "roles"):
        globs: list[str] = getattr(body, right)
        if "" in globs:
            raise Refusal("invalid_command", f"{right} has an empty entry; leave it out", field=right)
    known = book.grants.get(name)
    if body.unknown_only and (known is not None or name in book.agents or name in book.removed or name in book.keys):
        message = f"{name!r} is known here: an operator grants it rights, or takes them away, by its name"
        raise Refusal("scope", message, rule="unknown_only", name=name)
    if known is None:
        room.check_count("names with rights", len(book.grants), room.AGENTS_LIMIT)
    fields = {field: getattr(body, field) for field in GRANTED}
    if known is None or any(_frozen(value) != getattr(known, field) for field, value in fields.items()):
        scribe.write(AgentEvent, kinds.RIGHTS_GRANTED, name=name, **fields, operator=body.operator[:NAME_LIMIT])


GRANTED: Final = (*RIGHTS, "contracts", "roles", "budget_nano_usd", "client")
"""Fields that say what was granted."""


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def fold(book: PartitionState, fact: AgentEvent, changes: Changes) -> None:
    """Folds a fact about rights."""
    if fact.kind == kinds.RIGHTS_GRANTED:
        known = book.grants.get(fact.name)
        if known is None or fact.command_offset > known.command_offset:
            fields = {field: _frozen(getattr(fact, field)) for field in Grant.__struct_fields__}
            changes.put(book.grants, fact.name, Grant(**fields))
        return
    if fact.command_offset <= book.policy_at:
        return
    if not book.rights_required:
        for name, spec in book.agents.items():
            if name not in book.grants:
                changes.put(book.grants, name, _of_declaration(spec, fact.command_offset))
    changes.assign(book, "rights_required", True)
    changes.assign(book, "policy", fact.policy)
    changes.assign(book, "policy_at", fact.command_offset)


def _of_declaration(spec: AgentSpec, command_offset: int) -> Grant:
    lists = {right: tuple(globs) for right, globs in asked(spec).items()}
    return Grant(
        name=spec.name,
        roles=(),
        contracts=(),
        budget_nano_usd=spec.budget_nano_usd,
        client=False,
        operator=BEFORE,
        command_offset=command_offset,
        **lists,
    )


def body_of(grant: Grant) -> GrantBody:
    """The grant as an operator would say it."""
    lists = {right: list(getattr(grant, right)) for right in (*RIGHTS, "contracts", "roles")}
    return msgspec.convert(
        {"name": grant.name, "budget_nano_usd": grant.budget_nano_usd, "client": grant.client, **lists}, GrantBody
    )
