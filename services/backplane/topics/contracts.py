"""Applies contracts: each one's schema to the registry first, which says whether the change is compatible, then to the
ledger, in every partition. A schema that the registry refuses never reaches the ledger."""

from __future__ import annotations

import json
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from agents_sdk.broadcast import broadcast
from agents_sdk.contracts import Contract
from agents_sdk.core import kinds
from agents_sdk.core.commands import ContractBody
from agents_sdk.core.facts import ContractEvent
from agents_sdk.wire.registry import JSON, Registry, SchemaRejected

if TYPE_CHECKING:
    from agents_sdk.transport import Transport

LEVEL: Final = "BACKWARD_TRANSITIVE"
"""A reader by the new schema can read the values of any older one: state and history outlive a deploy."""

DIALECT: Final = "http://json-schema.org/draft-07/schema#"
"""For the registry only. Apicurio takes a schema without a dialect for none at all (422), and fails to compare those of
2020-12 (500), which pydantic writes. The common part of both dialects is compared; the ledger checks all."""


class ContractChange(NamedTuple):
    """The change of one contract, made or planned."""

    contract: Contract
    status: str
    """new, changed or unchanged; by the schema in the registry."""
    schema_id: int
    """0: not registered."""


def declared(module: ModuleType) -> list[Contract]:
    """The contracts among a module's names, and in its lists and tuples of them, each once, in order."""
    found: dict[int, Contract] = {}
    values: list[Any] = list(vars(module).values())
    for value in values:
        for item in value if isinstance(value, list | tuple) else (value,):
            if isinstance(item, Contract):
                found[id(item)] = item
    return list(found.values())


def compared(registry: Registry, contracts: Sequence[Contract]) -> list[ContractChange]:
    """The changes that applying them would make. Raises SchemaRejected for the first that is not compatible,
    Unreachable."""
    return [_compared(registry, contract) for contract in contracts]


def _compared(registry: Registry, contract: Contract) -> ContractChange:
    schema = _schema(contract)
    known = registry.lookup(contract.subject, schema, JSON)
    if known is not None:
        return ContractChange(contract, "unchanged", known)
    versions = registry.versions(contract.subject)
    if versions and not registry.accepts(contract.subject, schema, JSON):
        raise SchemaRejected(
            f"{contract!r}: what was written by version {versions[-1].version} of {contract.subject!r} may not fit",
            hint="add only what may be missing, or choose another pattern",
            subject=contract.subject,
        )
    return ContractChange(contract, "changed" if versions else "new", 0)


def registered(registry: Registry, contracts: Sequence[Contract]) -> list[ContractChange]:
    """Registers their schemas, all or, where one is not compatible, none. Raises as ``compared``."""
    return [_registered(registry, applied) for applied in compared(registry, contracts)]


def _registered(registry: Registry, applied: ContractChange) -> ContractChange:
    subject = applied.contract.subject
    if applied.status == "unchanged":
        return applied
    schema_id = registry.register(subject, _schema(applied.contract), JSON)
    if applied.status == "new":
        registry.set_level(subject, LEVEL)
    return applied._replace(schema_id=schema_id)


async def apply(transport: Transport, sender: str, applied: Sequence[ContractChange]) -> None:
    """Tells every partition of the ledger; the same contract again changes nothing. Raises InvalidCommand, ScopeDenied,
    Unanswered, Unreachable."""
    for one in applied:
        await broadcast(transport, sender, kinds.APPLY_CONTRACT, one.contract.body(one.schema_id))


def newest(events: Sequence[ContractEvent]) -> list[ContractEvent]:
    """The contracts that hold, by target, pattern and workflow."""
    held: dict[tuple[str, str, str], ContractEvent] = {}
    for event in events:
        place = (event.target, event.pattern, event.workflow)
        if event.kind == kinds.CONTRACT_REMOVED:
            held.pop(place, None)
        else:
            held[place] = event
    return [held[place] for place in sorted(held)]


async def remove(transport: Transport, sender: str, held: ContractEvent) -> None:
    """Announces to every partition of the ledger that a contract holds no longer. Its schemas stay in the registry,
    since values that were written by them are still there. Raises ScopeDenied, Unanswered, Unreachable."""
    body = ContractBody(target=held.target, pattern=held.pattern, workflow=held.workflow)
    await broadcast(transport, sender, kinds.REMOVE_CONTRACT, body)


def _schema(contract: Contract) -> dict[str, Any]:
    """As the registry has it. Objects are closed there. By the rules of JSON Schema a field added to an open one breaks
    values under its name from before. A type writes no fields but its own."""
    return {"$schema": DIALECT, **closed(json.loads(contract.schema))}


def closed(schema: Any) -> Any:
    """The schema with each object that names its properties taking no others, where it does not say so itself."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    parts = {name: closed(part) for name, part in schema.items()}
    if parts.get("type") == "object" and isinstance(parts.get("properties"), dict):
        parts.setdefault("additionalProperties", False)
    return parts
