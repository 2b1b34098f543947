"""Contracts: which one governs a state key or a message, and whether a value fits it. Pure; see ``decide`` for the law.

A contract holds from its place in the partition's order on, and says nothing about what was written before. Where
several match, the most specific governs, alone. A value is checked as it is after its reducer.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final, TypeAlias

import jsonschema_rs
import msgspec
from jsonschema_rs import ValidationErrorKind

from agents_sdk.core import ids, kinds
from agents_sdk.core.commands import Command, ContractBody
from agents_sdk.core.facts import ContractEvent
from agents_sdk.core.ledger import payloads, room, rules
from agents_sdk.core.ledger.changes import Changes
from agents_sdk.core.ledger.reducers import REDUCERS, REPLACE
from agents_sdk.core.ledger.rules import allows
from agents_sdk.core.ledger.schema_cost import STEPS_LIMIT, Cost, cost_of
from agents_sdk.core.ledger.scribe import FactBuilder, Refusal
from agents_sdk.core.ledger.state import Contract, PartitionState
from agents_sdk.core.ledger.timers import due_at

STATE: Final = "state"
MESSAGE: Final = "message"
PATTERN_LIMIT: Final = 512
"""Characters, as a state key has."""
VALUE_SHOWN: Final = 200
"""Characters of an offending value that its refusal quotes."""
PATTERN_BYTES: Final = 1_000_000
"""Of a compiled pattern: a value of a million characters takes each of them through all of it."""
WILDCARDS: Final = frozenset("*?[")

ALTERNATIVES: Final = (ValidationErrorKind.AnyOf, ValidationErrorKind.OneOfNotValid)

Validator: TypeAlias = Any
"""jsonschema_rs has a class for each draft, and no name for all of them."""


def governing(book: PartitionState, target: str, name: str, workflow: str = "") -> Contract | None:
    """The contract of a state key or message in a run of this workflow. It is one of the workflow's own, else one of
    all workflows; None where there is none."""
    for place in (_place(target, workflow), target) if workflow else (target,):
        contracts = book.contracts.get(place)
        pattern = most_specific(tuple(contracts), name) if contracts else None
        if contracts and pattern is not None:
            return contracts[pattern]
    return None


def _place(target: str, workflow: str) -> str:
    return f"{target}@{workflow}" if workflow else target


@lru_cache(maxsize=65_536)
def most_specific(patterns: tuple[str, ...], name: str) -> str | None:
    """Of the globs that match: the one without wildcards, else the one that fixes most characters before its first
    wildcard, then in all."""
    return max((pattern for pattern in patterns if allows((pattern,), name)), key=_specificity, default=None)


def _specificity(pattern: str) -> tuple[bool, int, int, str]:
    first = next((index for index, char in enumerate(pattern) if char in WILDCARDS), len(pattern))
    return first == len(pattern), first, sum(char not in WILDCARDS for char in pattern), pattern


def check(contract: Contract, field: str, name: str, value: str) -> None:
    """Raises Refusal where the value does not fit; ``field`` (key or name) is what the refusal calls ``name``."""
    try:
        decoded = msgspec.json.decode(value or "null")
    except msgspec.DecodeError as error:
        raise Refusal("invalid_command", f"{field} {name!r}: the value is not JSON: {error}", field="value") from error
    governs = f"{contract.pattern}@{contract.version}"
    try:
        validator, cost = _validator(contract.schema)
    except ValueError as error:  # it was applied before there were limits
        message = f"{field} {name!r}: its contract {governs!r} cannot be used: {error}; apply another one"
        raise Refusal("contract", message, path="", contract=governs, **{field: name}) from error
    if cost.steps(value) > STEPS_LIMIT:
        message = f"{field} {name!r}: the value is too large or nests too deep for its contract {governs!r}"
        raise Refusal("contract", f"{message}; pass less of it at a time", path="", contract=governs, **{field: name})
    if validator.is_valid(decoded):
        return
    if not cost.explains(value):
        message = f"{field} {name!r} breaks its contract {governs!r}; it is too large to say where"
        raise Refusal("contract", message, path="", contract=governs, **{field: name})
    # the first in an order of our own: which one the validator meets first may differ from process to process
    path, message, found = min(_faults(validator.iter_errors(decoded)), key=lambda fault: fault[:2])
    where = f" at {path!r}" if path else ""
    raise Refusal(
        "contract",
        f"{field} {name!r} breaks its contract {governs!r}{where}: {message}",
        path=path,
        contract=governs,
        value=ids.canonical(found)[:VALUE_SHOWN],
        **{field: name},
    )


def check_message(book: PartitionState, name: str, data: str, workflow: str) -> None:
    """Raises Refusal where a message's data breaks the contract of its name in this workflow."""
    contract = governing(book, MESSAGE, name, workflow)
    if contract is not None:
        check(contract, "name", name, data)


def _faults(errors: Any) -> list[tuple[str, str, Any]]:
    """(path, what is wrong, the value there) of each error; of alternatives, that of the one which got furthest."""
    faults = []
    for error in errors:
        path, kind = list(error.instance_path), error.kind
        if isinstance(kind, ALTERNATIVES):
            inner = [fault for branch in kind.context for fault in _faults(branch) if len(fault[0]) > len(_path(path))]
            if inner:
                faults.append(min(inner, key=lambda fault: (-len(fault[0]), *fault[:2])))
                continue
        if isinstance(kind, ValidationErrorKind.Required):
            path.append(kind.property)
        elif isinstance(kind, ValidationErrorKind.AdditionalProperties):
            path.append(min(kind.unexpected))
        faults.append((_path(path), str(error.message)[:VALUE_SHOWN], error.instance))
    return faults


def _path(location: list[int | str]) -> str:
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path


@lru_cache(maxsize=512)
def _validator(schema: str) -> tuple[Validator, Cost]:
    """The compiled schema, and what it costs. It fetches nothing, and its patterns run in linear time. Raises
    ValueError."""
    options = jsonschema_rs.RegexOptions(size_limit=PATTERN_BYTES)
    decoded = msgspec.json.decode(schema)
    cost = cost_of(decoded, len(schema))
    try:
        validator = jsonschema_rs.validator_for(
            decoded, offline=True, mask="it", pattern_options=options, validate_formats=False
        )
        return validator, cost
    except jsonschema_rs.ReferencingError as error:  # pragma: no cover — newer versions raise a ValueError instead
        raise ValueError(str(error)) from error


def apply(book: PartitionState, command: Command, scribe: FactBuilder) -> None:
    """ApplyContract → ContractApplied, unless this very contract holds already."""
    body = _body(book, command)
    reducer = _checked(book, body)
    known = book.contracts.get(_place(body.target, body.workflow), {}).get(body.pattern)
    if known is not None and (known.schema, known.reducer, known.ttl_ms) == (body.schema, reducer, body.ttl_ms):
        return
    if known is None:
        room.check_count("contracts", sum(map(len, book.contracts.values())), room.CONTRACTS_LIMIT)
    fields = msgspec.structs.asdict(body) | {"reducer": reducer}
    version = known.version + 1 if known else 1
    scribe.write(ContractEvent, kinds.CONTRACT_APPLIED, **fields, contract_version=version)


def remove(book: PartitionState, command: Command, scribe: FactBuilder) -> None:
    """RemoveContract → ContractRemoved; nothing where there is no such contract."""
    body = _body(book, command)
    known = book.contracts.get(_place(body.target, body.workflow), {}).get(body.pattern)
    if known is not None:
        fields: dict[str, Any] = {"target": body.target, "pattern": body.pattern, "workflow": body.workflow}
        scribe.write(ContractEvent, kinds.CONTRACT_REMOVED, **fields, contract_version=known.version)


def _body(book: PartitionState, command: Command) -> ContractBody:
    body = command.contract
    if body is None:
        raise Refusal("invalid_command", f"{command.kind} needs the body 'contract'", field="contract")
    if command.run_id:
        raise Refusal("invalid_command", f"{command.kind} is about no run; its run_id is empty", field="run_id")
    if command.agent in book.agents:
        message = f"agent {command.agent!r} may not apply or remove contracts: only an operator's client may"
        raise Refusal("scope", message, rule="contracts")
    rules.check(book, command.agent, "contracts", "apply or remove contracts for", pattern=body.pattern)
    return body


def _checked(book: PartitionState, body: ContractBody) -> str:
    """The reducer, empty for messages."""
    if body.target not in (STATE, MESSAGE):
        message = f"a contract is about {STATE} or {MESSAGE}, not {body.target!r}"
        raise Refusal("invalid_command", message, field="target")
    if not 0 < len(body.pattern) <= PATTERN_LIMIT:
        message = f"a pattern has 1 to {PATTERN_LIMIT} characters, not {len(body.pattern)}"
        raise Refusal("invalid_command", message, field="pattern")
    reducers = list(REDUCERS) if body.target == STATE else [""]
    reducer = body.reducer or (REPLACE if body.target == STATE else "")
    if reducer not in reducers:
        allowed = ", ".join(REDUCERS) if body.target == STATE else "none for messages"
        raise Refusal("invalid_command", f"reducer is {reducer!r}; use {allowed}", field="reducer")
    if body.target != STATE and body.ttl_ms:
        raise Refusal("invalid_command", "messages have no time to live; they have deadlines", field="ttl_ms")
    due_at(0, body.ttl_ms, "ttl_ms")
    payloads.check(book.limits, "schema", body.schema)
    try:
        _validator(body.schema)
    except ValueError as error:
        said = " ".join(str(error).split())
        raise Refusal("invalid_command", f"schema is no JSON Schema: {said}", field="schema") from error
    return reducer


def fold(book: PartitionState, fact: ContractEvent, changes: Changes) -> None:
    """Keeps the contract in place of an older one, or drops it. An unknown one, older than the last removal, was
    removed itself. Facts are folded in order, so it was folded before, and does not come back."""
    place = _place(fact.target, fact.workflow)
    if place not in book.contracts:
        changes.put(book.contracts, place, {})
    contracts = book.contracts[place]
    known = contracts.get(fact.pattern)
    if fact.kind == kinds.CONTRACT_REMOVED:
        if known is not None and fact.command_offset > known.command_offset:
            changes.take(contracts, fact.pattern)
        if fact.command_offset > book.contract_removed_at:
            changes.assign(book, "contract_removed_at", fact.command_offset)
    elif fact.command_offset > (book.contract_removed_at if known is None else known.command_offset):
        contract = Contract(
            pattern=fact.pattern,
            schema=fact.schema,
            reducer=fact.reducer,
            ttl_ms=fact.ttl_ms,
            version=fact.contract_version,
            command_offset=fact.command_offset,
        )
        changes.put(contracts, fact.pattern, contract)
