"""A run's shared state: versioned keys, each value JSON. The same object serves handlers and clients."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Generic, TypeAlias

import msgspec
from typing_extensions import TypeVar

from agents_sdk import values
from agents_sdk.core import kinds
from agents_sdk.core.commands import StateBody
from agents_sdk.core.facts import Reply
from agents_sdk.core.kinds import CommandKind
from agents_sdk.core.ledger.memory import NAMESPACE, PREFIX
from agents_sdk.errors import ContractBroken, VersionConflict
from agents_sdk.scope import Scope

T = TypeVar("T", default=Any)
UPDATE_RETRIES: Final = 50
"""Of each round of concurrent updates of a key one gets through: enough for some dozens at once."""


@dataclass(frozen=True, slots=True)
class Entry(Generic[T]):
    """A value with the version it was read at."""

    key: str
    value: T
    version: int
    """0: the key was never written; ``value`` is None then, and where the key was deleted at ``version``."""


class Version(msgspec.Struct, frozen=True):
    """One version in the history of a key; the value itself is in ``get(key, version=…)`` while it is kept."""

    version: int
    agent: str
    """The writer."""
    at: int
    """When, microseconds UTC, by the broker's clock."""
    size: int
    """Bytes of canonical JSON."""
    value_hash: str
    """SHA-256 of them, hex; empty for a deletion."""
    event_id: str
    """The fact that says so."""
    deleted: bool


class KeyVersion(msgspec.Struct, frozen=True):
    """A key and its current version."""

    key: str
    version: int


class Found(msgspec.Struct, frozen=True):
    """A key as an answer about several keys has it; no ``value`` where it has none."""

    key: str
    version: int
    value: msgspec.Raw = msgspec.Raw()


Listing: TypeAlias = list[KeyVersion]
History: TypeAlias = list[Version]


class State:
    """Reads and writes of one run's state.

    Every operation may raise Unanswered or Unreachable, and Refused: UnknownRun, RunFinished, ScopeDenied (the agent's
    ``reads`` or ``writes``), InvalidCommand (a malformed key).
    """

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def get(
        self, key: str, type_: type[T] | None = None, *, version: int = 0, at: datetime | int | None = None
    ) -> Coroutine[Any, Any, T]:
        """The value of a key: plain JSON, or ``type_`` (a pydantic model, a dataclass, any type pydantic knows).
        ``version`` 0 is the current one. ``at`` is a time, as a datetime with its zone or in microseconds since 1970,
        by the broker's clock: the key's value at that time. Without ``type_``, None for a key that has no value.

        Raises:
            ContractBroken: it does not fit ``type_``; ``fields["path"]`` names the field. A key without a value fits
                no type.
        """
        return self._value(self._read(key, version, values.microseconds("at", at)), key, type_)

    def get_many(self, keys: Iterable[str], type_: type[T] | None = None) -> Coroutine[Any, Any, dict[str, T]]:
        """The values of several keys, all of one moment; keys that have no value are left out.

        Raises:
            Oversize: together they are more than an answer may carry; ask for fewer.
            ContractBroken: one does not fit ``type_``, as in ``get``.
        """
        if isinstance(keys, str):
            raise TypeError(f"keys is the string {keys!r}; use a list: [{keys!r}]")
        wanted = builtins.list(dict.fromkeys(keys))
        return self._many(self._read_many(wanted) if wanted else None, type_)

    def entry(
        self, key: str, type_: type[T] | None = None, *, version: int = 0, at: datetime | int | None = None
    ) -> Coroutine[Any, Any, Entry[T]]:
        """As ``get``, with the version, which ``set(…, expected_version=…)`` wants."""
        return self._entry(self._read(key, version, values.microseconds("at", at)), key, type_)

    def set(
        self, key: str, value: Any, *, expected_version: int | None = None, ttl_seconds: float | None = None
    ) -> Coroutine[Any, Any, int]:
        """Writes a key and returns its new version. The value is JSON, a pydantic model or a dataclass. With
        ``expected_version`` only if the key is at that version; 0: only if it does not exist. The value expires, as if
        it was deleted, after ``ttl_seconds`` (None: as the key's contract says) unless it is written again.

        Raises:
            VersionConflict: it is at another version, ``current_version``.
            ContractViolated: it breaks the key's contract; ``fields["path"]`` names the field.
            Oversize, InvalidCommand: the value is too large, or not JSON; raised by the call, before anything is sent.
        """
        text = values.to_json(value, self._scope.limit)
        ttl_ms = values.milliseconds("ttl_seconds", ttl_seconds)
        return self._version(self._write(kinds.SET_STATE, key, text, expected_version, ttl_ms))

    async def update(
        self,
        key: str,
        change: Callable[[T | None], T],
        type_: type[T] | None = None,
        *,
        retries: int = UPDATE_RETRIES,
        ttl_seconds: float | None = None,
    ) -> Entry[T]:
        """Writes ``change(value)`` in place of the value, and returns it with its version. ``change`` gets None where
        the key has no value. It is asked again, with the newer value, when somebody else wrote meanwhile: so no update
        is lost. In a handler it must give the same for the same value each time.

        Raises:
            VersionConflict: somebody else was faster ``retries`` times.
            ContractBroken, Oversize, InvalidCommand: as ``get`` and ``set``.
        """
        for left in range(retries, -1, -1):
            reply = await self._read(key)
            before = value_of(key, reply.value, reply.version, type_) if reply.value else None
            after = change(before)
            try:
                written = self.set(key, after, expected_version=reply.version, ttl_seconds=ttl_seconds)
                return Entry(key, after, await written)
            except VersionConflict:
                if not left:
                    raise
        raise ValueError(f"retries is {retries}; use 0 or more")

    def delete(self, key: str, *, expected_version: int | None = None) -> Coroutine[Any, Any, int]:
        """Deletes a key and returns the version of the deletion. Raises VersionConflict as ``set``."""
        return self._version(self._write(kinds.DELETE_STATE, key, "", expected_version))

    def list(self, prefix: str = "") -> Coroutine[Any, Any, Listing]:
        """The keys that begin with ``prefix`` and have a value, sorted, with their versions."""
        return self._decoded(self._scope.ask(kinds.LIST_STATE, StateBody(key=prefix)), Listing)

    def history(self, key: str) -> Coroutine[Any, Any, History]:
        """The versions of a key that the ledger keeps, the oldest first."""
        return self._decoded(self._scope.ask(kinds.GET_HISTORY, StateBody(key=key)), History)

    def _read(self, key: str, version: int = 0, at: int = 0) -> Coroutine[Any, Any, Reply]:
        return self._scope.ask(kinds.GET_STATE, StateBody(key=key, version=version, at=at))

    def _read_many(self, keys: builtins.list[str]) -> Coroutine[Any, Any, Reply]:
        return self._scope.ask(kinds.GET_STATES, StateBody(key="", keys=keys))

    def _write(
        self, kind: CommandKind, key: str, text: str, expected: int | None, ttl_ms: int = 0
    ) -> Coroutine[Any, Any, Reply]:
        guarded, version = expected is not None, expected or 0
        body = StateBody(key=key, value=text, guarded=guarded, expected_version=version, ttl_ms=ttl_ms)
        return self._scope.ask(kind, body)

    async def _value(self, read: Coroutine[Any, Any, Reply], key: str, type_: type[T] | None) -> T:
        reply = await read
        return value_of(key, reply.value, reply.version, type_)

    async def _many(self, read: Coroutine[Any, Any, Reply] | None, type_: type[T] | None) -> dict[str, T]:
        rows = msgspec.json.decode((await read).value, type=builtins.list[Found]) if read else []
        return {
            row.key: value_of(row.key, bytes(row.value).decode(), row.version, type_)
            for row in rows
            if bytes(row.value)
        }

    async def _entry(self, read: Coroutine[Any, Any, Reply], key: str, type_: type[T] | None) -> Entry[T]:
        reply = await read
        return Entry(key, value_of(key, reply.value, reply.version, type_), reply.version)

    async def _version(self, written: Coroutine[Any, Any, Reply]) -> int:
        return (await written).version

    async def _decoded(self, read: Coroutine[Any, Any, Reply], type_: type[T]) -> T:
        decoded: T = msgspec.json.decode((await read).value or "[]", type=type_)
        return decoded


def value_of(key: str, text: str, version: int, type_: type[T] | None) -> T:
    """A value as it was read, as what its reader wants. Raises ContractBroken."""
    if text:
        return values.typed(text, type_, f"state {key!r} at version {version}")
    if type_ is None:
        return None  # type: ignore[return-value]  # T is Any without a type
    what = f"was deleted at version {version}" if version else "was never written"
    name = getattr(type_, "__name__", str(type_))
    raise ContractBroken(f"state {key!r} {what}: it has no {name}", hint="read it without a type to get None", path="")


def memory_run(namespace: str) -> str:
    """The run id under which a memory lies. Raises ValueError for a name that is not allowed."""
    if not NAMESPACE.fullmatch(namespace):
        allowed = "1 to 200 of A-Z a-z 0-9 . _ -, none of . - first"
        raise ValueError(f"memory namespace {namespace!r} is not allowed; use {allowed}")
    return PREFIX + namespace
