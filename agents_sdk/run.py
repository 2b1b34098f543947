"""A run as its starter sees it, while it goes on and after it has ended.

The ledger lets go of a run that ended; its state is read from the facts then, which stay.
"""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

from agents_sdk import operations, values
from agents_sdk.answers import RunResult, run_result, why_of
from agents_sdk.core import kinds
from agents_sdk.core.commands import RunBody, StateBody
from agents_sdk.core.facts import Fact, Reply, RunEvent, StateEvent
from agents_sdk.core.ids import CommandId
from agents_sdk.core.tools import Format
from agents_sdk.discovery import LIMIT, CapabilityMatch
from agents_sdk.errors import InvalidCommand, RunFinished, UnknownRun
from agents_sdk.scope import Scope
from agents_sdk.state import History, KeyVersion, Listing, State, Version
from agents_sdk.toolbox import Toolbox, called
from agents_sdk.topics import RUNS, STATE
from agents_sdk.values import time_limit
from agents_sdk.verbs import RunVerbs

if TYPE_CHECKING:
    from agents_sdk.registry_reader import RegistryReader
    from agents_sdk.transport import Transport

Kept: TypeAlias = dict[str, list[StateEvent]]
"""Key → its versions, the oldest first."""
FACTS_BEHIND_S: Final = 10.0
"""How long the facts of a run may lag the answer that it has ended: a transaction, or a takeover."""


class AsyncRun(RunVerbs):
    """A handle of one run. Every operation may raise UnknownRun, Unanswered or Unreachable."""

    def __init__(
        self,
        transport: Transport,
        scope: Scope,
        recipients: int | None = None,
        registry: RegistryReader | None = None,
    ) -> None:
        self._transport = transport
        self._registry = registry
        self._past = EndedRunReader(transport, scope.run_id)
        super().__init__(scope, RunState(scope, self._past))
        self.recipients = recipients
        """How many agents were given the run's input at its start; None: it was not started by this handle."""

    @property
    def id(self) -> str:
        """The run's id."""
        return self._scope.run_id

    def wait(self, timeout: float | None = None) -> Coroutine[Any, Any, RunResult]:
        """Waits until the run has ended, ``timeout`` seconds at most (None: for ever). Raises Unanswered when it goes
        on still."""
        return self._wait(time_limit("timeout", timeout))

    def complete(self, result: Any = None) -> Coroutine[Any, Any, None]:
        """Ends the run as completed, with a JSON result. Raises RunFinished, InvalidCommand, Oversize."""
        return operations.complete_run(self._scope, result)

    def fail(self, reason: str) -> Coroutine[Any, Any, None]:
        """Ends the run as failed. Raises RunFinished."""
        return operations.fail_run(self._scope, reason)

    def cancel(self, reason: str = "") -> Coroutine[Any, Any, None]:
        """Ends the run as cancelled. Raises RunFinished."""
        return operations.cancel_run(self._scope, reason)

    async def discover(self, need: str, *, limit: int = LIMIT) -> list[CapabilityMatch]:
        """The capabilities that fit a need in words best and can be called now, best first. Each has its description
        and the schema of its params. The registry is as it is at this moment. Raises NotInstalled, Unreachable."""
        return (await self._tools()).discover(need, limit)

    async def tools(self, format: Format = "openai", *, names: Iterable[str] | None = None) -> list[dict[str, Any]]:
        """Definitions of what can be called, for a language model: ``openai``, ``anthropic`` or ``mcp``. ``names`` has
        only those, in that order, as ``discover`` found them. Raises ValueError for another format, LookupError for a
        name that nobody provides, Unreachable."""
        return (await self._tools()).definitions(format, names)

    async def call_tool(
        self, call: Any, format: Format | None = None, *, timeout_seconds: float | None = None
    ) -> dict[str, Any]:
        """Carries out a model's tool call and returns the message that tells the model its result; see
        ``Context.call_tool``. Raises TypeError for what is no tool call."""
        return await called(self, call, format, timeout_seconds)

    async def _tools(self) -> Toolbox:
        if self._registry is None:
            raise RuntimeError("this run has no client that reads the registry; take it from AsyncBackplane.run")
        return await self._registry.toolbox(self._transport)

    async def _wait(self, timeout: float | None) -> RunResult:
        try:
            reply = await self._scope.sent(self._scope.command(kinds.AWAIT_RUN, RunBody()), timeout)
        except UnknownRun as unknown:
            return await self._past.end(unknown)
        return run_result(self.id, reply)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id!r})"


class EndedRunReader:
    """The facts about a run that has ended; read once, since it changes no more."""

    def __init__(self, transport: Transport, run_id: str) -> None:
        self._transport = transport
        self._run_id = run_id
        self._read: asyncio.Future[list[Fact]] | None = None

    async def end(self, unknown: UnknownRun) -> RunResult:
        """How the run ended. Raises ``unknown`` where the facts do not know it either."""
        for fact in reversed(await self._facts(0.0)):
            if isinstance(fact, RunEvent) and fact.kind in kinds.RUN_ENDS:
                result = values.from_json(fact.result) if fact.result else None
                why = why_of(fact.code, fact.reason, fact.said, fact.said_by)
                status, ended = kinds.RUN_ENDS[fact.kind], why._asdict()
                return RunResult(self._run_id, status, result, state_hash=fact.state_hash, **ended)
        raise unknown

    async def versions(self, unknown: UnknownRun | None) -> Kept:
        """All versions of all keys. Raises ``unknown`` where the facts do not know the run."""
        facts = await self._facts(0.0 if unknown is not None else FACTS_BEHIND_S)
        if not facts and unknown is not None:
            raise unknown
        found: Kept = {}
        for fact in facts:
            if isinstance(fact, StateEvent) and fact.kind in kinds.STATE_WRITES:
                found.setdefault(fact.key, []).append(fact)
        return found

    async def _facts(self, wait_s: float) -> list[Fact]:
        if self._read is None:
            self._read = asyncio.ensure_future(asyncio.to_thread(self._load, wait_s))
        try:
            return await asyncio.shield(self._read)
        except Exception:
            self._read = None  # a broker that was away may be back
            raise

    def _load(self, wait_s: float) -> list[Fact]:
        from agents_sdk.history import read_run

        transport = self._transport
        return read_run(transport.settings, transport.codec, self._run_id, (RUNS, STATE), until_ended_s=wait_s)


class RunState(State):
    """State that goes on being readable when the run has ended; writes are refused with RunFinished then."""

    def __init__(self, scope: Scope, past: EndedRunReader) -> None:
        super().__init__(scope)
        self._past = past

    def _read(self, key: str, version: int = 0, at: int = 0) -> Coroutine[Any, Any, Reply]:
        asked = super()._read(key, version, at)
        return self._or_past(asked, lambda kept: _value_in(kept.get(key, ()), key, version, at))

    def _read_many(self, keys: builtins.list[str]) -> Coroutine[Any, Any, Reply]:
        def found(kept: Kept) -> Reply:
            newest = [kept[key][-1] for key in keys if key in kept]
            rows = [
                {"key": f.key, "version": f.version, "value": msgspec.Raw(f.value.encode())} for f in newest if f.value
            ]
            return _reply(value=msgspec.json.encode(rows).decode())

        return self._or_past(super()._read_many(keys), found)

    def list(self, prefix: str = "") -> Coroutine[Any, Any, Listing]:
        """As State."""

        def keys(kept: Kept) -> Reply:
            found = [KeyVersion(key, of[-1].version) for key, of in sorted(kept.items()) if key.startswith(prefix)]
            live = [listed for listed in found if kept[listed.key][-1].value]
            return _reply(value=msgspec.json.encode(live).decode())

        asked = self._scope.ask(kinds.LIST_STATE, StateBody(key=prefix))
        return self._decoded(self._or_past(asked, keys), Listing)

    def history(self, key: str) -> Coroutine[Any, Any, History]:
        """As State."""

        def versions(kept: Kept) -> Reply:
            found = [_version(fact) for fact in kept.get(key, ())]
            return _reply(value=msgspec.json.encode(found).decode())

        asked = self._scope.ask(kinds.GET_HISTORY, StateBody(key=key))
        return self._decoded(self._or_past(asked, versions), History)

    async def _or_past(self, asked: Coroutine[Any, Any, Reply], answer: Callable[[Kept], Reply]) -> Reply:
        try:
            return await asked
        except RunFinished:
            return answer(await self._past.versions(None))
        except UnknownRun as unknown:
            return answer(await self._past.versions(unknown))


def _reply(**fields: Any) -> Reply:
    return Reply(command_id=CommandId(""), reply_to="", status="ok", **fields)


def _value_in(versions: Sequence[StateEvent], key: str, version: int, at: int) -> Reply:
    known = [fact for fact in versions if fact.at <= at] if at else versions
    found = [fact for fact in versions if fact.version == version] if version else known[-1:]
    if version and not found:
        newest = versions[-1].version if versions else 0
        message = f"state {key!r} has no version {version} here; its newest is {newest}"
        raise InvalidCommand(message, field="version")
    return _reply(value=found[0].value, version=found[0].version) if found else _reply()


def _version(fact: StateEvent) -> Version:
    return Version(
        version=fact.version,
        agent=fact.agent,
        at=fact.at,
        size=fact.size,
        value_hash=fact.value_hash,
        event_id=fact.event_id,
        deleted=not fact.value,
    )
