"""Deciders of the state commands: write, delete, read, read many, list, history. Pure; see ``decide`` for the law."""

from __future__ import annotations

from agents_sdk.core import ids, kinds
from agents_sdk.core.commands import Command, StateBody
from agents_sdk.core.facts import StateEvent
from agents_sdk.core.ledger import contracts
from agents_sdk.core.ledger.answers import entry
from agents_sdk.core.ledger.memory import scoped
from agents_sdk.core.ledger.reducers import REPLACE, Irreducible, reduced
from agents_sdk.core.ledger.rules import check
from agents_sdk.core.ledger.scribe import FactBuilder, Refusal
from agents_sdk.core.ledger.state import PartitionState, Run, Version, at_time, at_version, current
from agents_sdk.core.ledger.timers import due_at

KEYS_LIMIT = 1_000
"""Keys read by one command: each is a fact, and a transaction should not wait for more."""
KEY_LIMIT = 512
"""Characters of a state key: it stands in every fact, row and URL about the key."""


def _checked(book: PartitionState, command: Command, right: str) -> StateBody:
    body = command.state
    assert body is not None
    _check_key(book, command, body.key, right)
    return body


def _check_key(book: PartitionState, command: Command, key: str, right: str) -> None:
    if not 0 < len(key) <= KEY_LIMIT:
        raise Refusal("invalid_command", f"a key has 1 to {KEY_LIMIT} characters, not {len(key)}", field="key")
    check(book, command.agent, right, "touch state", key=scoped(command.run_id, key))


def _guard(run: Run, body: StateBody) -> int:
    """The key's version now, after the compare-and-set guard, if any, has passed."""
    newest = current(run, body.key)
    version = newest.version if newest else 0
    # a deleted key counts as absent, so that "create" (expected_version 0) works again after a delete
    seen = 0 if newest is None or (newest.deleted and body.expected_version == 0) else version
    if body.guarded and seen != body.expected_version:
        raise Refusal(
            "version_conflict",
            f"state {body.key!r} is at version {version}, not {body.expected_version}",
            key=body.key,
            current_version=version,
            expected_version=body.expected_version,
        )
    return version


def write(book: PartitionState, run: Run, command: Command, scribe: FactBuilder) -> None:
    """SetState → StateWritten with the next version. The value joins the one there as the key's contract says; a
    guarded write knows what it replaces, and replaces it."""
    body = _checked(book, command, "writes")
    if not body.value:
        raise Refusal("invalid_command", "SetState needs a value; None is written as null", field="value")
    version = _guard(run, body)
    contract = contracts.governing(book, contracts.STATE, scoped(run.run_id, body.key), run.workflow)
    reducer = contract.reducer if contract is not None and not body.guarded else REPLACE
    value = body.value if reducer == REPLACE else _joined(book, run, body, reducer)
    if contract is not None:
        contracts.check(contract, "key", body.key, value)
    scribe.write(
        StateEvent,
        kinds.STATE_WRITTEN,
        key=body.key,
        version=version + 1,
        value=value,
        size=len(value.encode()),
        value_hash=ids.sha256(value),
        guarded=body.guarded,
        expected_version=body.expected_version,
        expires_at=due_at(scribe.at, body.ttl_ms or (contract.ttl_ms if contract else 0), "ttl_ms"),
        reducer="" if reducer == REPLACE else reducer,
        operand="" if reducer == REPLACE else body.value,
    )


def _joined(book: PartitionState, run: Run, body: StateBody, reducer: str) -> str:
    before = current(run, body.key)
    try:
        value = reduced(reducer, before.value if before else "", body.value)
    except Irreducible as error:
        raise Refusal("contract", f"state {body.key!r}: {error}", key=body.key, path="", contract=reducer) from error
    size, limit = len(value.encode()), book.limits.max_value_bytes
    if size > limit:
        message = f"state {body.key!r} would have {size} bytes after this {reducer}, the limit is {limit}"
        raise Refusal("oversize", message, size=size, limit=limit)
    return value


def delete(book: PartitionState, run: Run, command: Command, scribe: FactBuilder) -> None:
    """DeleteState → StateDeleted, a version of its own. Deleting a missing key is a version too, so that the answer
    says the same in any order."""
    body = _checked(book, command, "writes")
    version = _guard(run, body)
    scribe.write(
        StateEvent,
        kinds.STATE_DELETED,
        key=body.key,
        version=version + 1,
        guarded=body.guarded,
        expected_version=body.expected_version,
    )


def read(book: PartitionState, run: Run, command: Command, scribe: FactBuilder) -> None:
    """GetState → StateRead, carrying the version read; version 0 where there is none."""
    body = _checked(book, command, "reads")
    if body.version and body.at:
        raise Refusal("invalid_command", "a read is as of a version or as of a time, not both", field="at")
    _read(scribe, body.key, _as_of(run, body) if body.version or body.at else current(run, body.key))


def _as_of(run: Run, body: StateBody) -> Version | None:
    newest = current(run, body.key)
    if body.version:
        found = at_version(run, body.key, body.version)
        if found is None:
            message = f"state {body.key!r} has no version {body.version} here; its newest is "
            raise Refusal("invalid_command", f"{message}{newest.version if newest else 0}", field="version")
        return found
    try:
        return at_time(run, body.key, body.at)
    except LookupError as error:
        message = f"what state {body.key!r} was at {body.at} is not kept here any more; ask bp.state"
        raise Refusal("invalid_command", message, field="at") from error


def _read(scribe: FactBuilder, key: str, found: Version | None, batch: int = 0) -> None:
    scribe.write(
        StateEvent,
        kinds.STATE_READ,
        key=key,
        version=found.version if found else 0,
        size=len(found.value.encode()) if found else 0,
        value_hash=found.value_hash if found else "",
        batch=batch,
    )


def read_many(book: PartitionState, run: Run, command: Command, scribe: FactBuilder) -> None:
    """GetStates → a StateRead for each key, all of the same moment. It is refused as a whole where one may not be read,
    or where they are more than an answer may carry."""
    body = command.state
    assert body is not None
    if not 0 < len(body.keys) <= KEYS_LIMIT:
        message = f"GetStates reads 1 to {KEYS_LIMIT} keys, not {len(body.keys)}"
        raise Refusal("invalid_command", message, field="keys")
    if len(set(body.keys)) != len(body.keys):
        raise Refusal("invalid_command", "GetStates reads each key once; leave out what is there twice", field="keys")
    found = []
    for key in body.keys:
        _check_key(book, command, key, "reads")
        found.append((key, current(run, key)))
    size, limit = sum(len(entry(*one).encode()) + 1 for one in found) + 1, book.limits.max_value_bytes
    if size > limit:
        message = f"the {len(found)} keys have {size} bytes, an answer has at most {limit}; ask for fewer"
        raise Refusal("oversize", message, size=size, limit=limit)
    for key, version in found:
        _read(scribe, key, version, len(found))


def list_keys(book: PartitionState, run: Run, command: Command, scribe: FactBuilder) -> None:
    """ListState → StateListed; what was listed is the run's state at that point of its order, as far as the agent may
    read it."""
    body = command.state
    assert body is not None
    scribe.write(StateEvent, kinds.STATE_LISTED, key=body.key)


def read_history(book: PartitionState, run: Run, command: Command, scribe: FactBuilder) -> None:
    """GetHistory → HistoryRead with the newest version."""
    body = _checked(book, command, "reads")
    newest = current(run, body.key)
    scribe.write(StateEvent, kinds.HISTORY_READ, key=body.key, version=newest.version if newest else 0)
