"""Deciders of the state commands: write, delete, read, list, history. Pure; see ``decide`` for the law."""

from __future__ import annotations

from agents_sdk.core import ids
from agents_sdk.core.commands import Command, StateBody
from agents_sdk.core.facts import StateEvent
from agents_sdk.core.ledger.rules import check
from agents_sdk.core.ledger.scribe import Refusal, Scribe
from agents_sdk.core.ledger.state import Book, Run, at_version, current

KEY_LIMIT = 512
"""Characters of a state key: it stands in every fact, row and URL about the key."""


def _checked(book: Book, command: Command, right: str) -> StateBody:
    body = command.state
    assert body is not None
    if not 0 < len(body.key) <= KEY_LIMIT:
        raise Refusal("invalid_command", f"a key has 1 to {KEY_LIMIT} characters, not {len(body.key)}", field="key")
    check(book, command.agent, right, "touch state", key=body.key)
    return body


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


def write(book: Book, run: Run, command: Command, scribe: Scribe) -> None:
    """SetState → StateWritten with the next version."""
    body = _checked(book, command, "writes")
    if not body.value:
        raise Refusal("invalid_command", "SetState needs a value; None is written as null", field="value")
    version = _guard(run, body)
    scribe.write(
        StateEvent,
        "StateWritten",
        key=body.key,
        version=version + 1,
        value=body.value,
        size=len(body.value.encode()),
        value_hash=ids.sha256(body.value),
        guarded=body.guarded,
        expected_version=body.expected_version,
    )


def delete(book: Book, run: Run, command: Command, scribe: Scribe) -> None:
    """DeleteState → StateDeleted, a version of its own; deleting what is not there is a version too, so that the
    answer says the same whoever came first."""
    body = _checked(book, command, "writes")
    version = _guard(run, body)
    scribe.write(
        StateEvent,
        "StateDeleted",
        key=body.key,
        version=version + 1,
        guarded=body.guarded,
        expected_version=body.expected_version,
    )


def read(book: Book, run: Run, command: Command, scribe: Scribe) -> None:
    """GetState → StateRead, carrying the version read; version 0 where there is none."""
    body = _checked(book, command, "reads")
    found = at_version(run, body.key, body.version) if body.version else current(run, body.key)
    if body.version and found is None:
        newest = current(run, body.key)
        raise Refusal(
            "invalid_command",
            f"state {body.key!r} has no version {body.version} here; its newest is {newest.version if newest else 0}",
            field="version",
        )
    scribe.write(
        StateEvent,
        "StateRead",
        key=body.key,
        version=found.version if found else 0,
        size=len(found.value.encode()) if found else 0,
        value_hash=found.value_hash if found else "",
    )


def list_keys(book: Book, run: Run, command: Command, scribe: Scribe) -> None:
    """ListState → StateListed; what was listed is the run's state at that point of its order, as far as the agent may
    read it."""
    body = command.state
    assert body is not None
    if len(body.key) > KEY_LIMIT:
        message = f"a prefix has at most {KEY_LIMIT} characters, not {len(body.key)}"
        raise Refusal("invalid_command", message, field="key")
    scribe.write(StateEvent, "StateListed", key=body.key)


def read_history(book: Book, run: Run, command: Command, scribe: Scribe) -> None:
    """GetHistory → HistoryRead with the newest version."""
    body = _checked(book, command, "reads")
    newest = current(run, body.key)
    scribe.write(StateEvent, "HistoryRead", key=body.key, version=newest.version if newest else 0)
