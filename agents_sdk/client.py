"""The asynchronous face: connect, start runs, speak about them. ``agents_sdk.blocking`` has the other one."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from agents_sdk import operations
from agents_sdk.answers import detail
from agents_sdk.comms import VerbsOfRuns
from agents_sdk.core import kinds
from agents_sdk.core.commands import StateBody
from agents_sdk.core.facts import Reply
from agents_sdk.registry_reader import RegistryReader
from agents_sdk.run import AsyncRun
from agents_sdk.scope import Scope, new_id
from agents_sdk.state import State, memory_run
from agents_sdk.values import to_json

if TYPE_CHECKING:
    from agents_sdk.settings import Settings
    from agents_sdk.transport import Transport


class AsyncBackplane(VerbsOfRuns):
    """A connection to Backplane. ``async with AsyncBackplane.connect() as backplane: …``

    Belongs to the event loop it was opened in. Operations are built when they are called and sent when they are
    awaited.
    """

    def __init__(self, settings: Settings | None, name: str) -> None:
        self._settings = settings
        self._name = name
        self._transport: Transport | None = None
        self._registry = RegistryReader()

    @classmethod
    def connect(cls, settings: Settings | None = None, name: str = "client") -> Self:
        """A connection to be opened, by ``async with`` or ``open``. ``settings`` None: where ``load_settings`` finds
        them. ``name`` stands as the agent on what this client does."""
        return cls(settings, name)

    async def open(self) -> None:
        """Connects. Raises NotConfigured, Unreachable, TopicsNotApplied, SchemasNotApplied."""
        from agents_sdk.settings import load_settings
        from agents_sdk.transport import Transport
        from agents_sdk.wire.registry import connect_codec

        settings = self._settings or load_settings()
        codec = await asyncio.to_thread(connect_codec, settings)
        transport = Transport(settings, codec, self._name, introduces=True)
        await transport.open()
        self._transport = transport

    async def close(self) -> None:
        """Sends what is queued and disconnects; who still waits for an answer gets Unanswered."""
        transport, self._transport = self._transport, None
        await self._registry.close()
        if transport is not None:
            await transport.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def run(self, run_id: str) -> AsyncRun:
        """A handle of a run that was started elsewhere or before; nothing is sent."""
        return self._handle(self.scope(run_id))

    def memory(self, namespace: str) -> State:
        """A long-term memory, shared by all runs; see ``Context.memory``."""
        return State(self.scope(memory_run(namespace)))

    def start_run(
        self,
        workflow: str,
        input: Any = None,
        *,
        run_id: str | None = None,
        complete_when: str = "idle",
        deadline_seconds: float | None = None,
        budget: str | None = None,
        state: Mapping[str, Any] | None = None,
        tags: Sequence[str] = (),
    ) -> Coroutine[Any, Any, AsyncRun]:
        """Starts a run: every agent that takes part in ``workflow`` and handles ``run.started`` gets ``input`` (JSON,
        a pydantic model or a dataclass). ``complete_when="idle"`` ends it when nothing is left to do,
        ``"explicit"`` only by ``complete``. A run that has not ended after ``deadline_seconds`` fails. ``budget``, such
        as ``"0.40 USD"``, is what it may spend on calls with all its children; None: no limit. ``state`` is written
        right after the start, in the same breath: before any agent can have received its message. ``tags`` are words by
        which people find the run again, 20 at most.

        Raises:
            RunExists: a run with this ``run_id`` was started by somebody else.
            InvalidCommand, Oversize: the input or a state value is not JSON or too large; nothing is sent.
            Unanswered, Unreachable.
        """
        scope = self.scope(run_id or new_id())
        start = scope.command(
            kinds.START_RUN,
            operations.start_body(scope, workflow, input, complete_when, deadline_seconds, budget, tags),
        )
        writes = [
            scope.command(kinds.SET_STATE, StateBody(key=key, value=to_json(value, scope.limit, f"state {key!r}")))
            for key, value in (state or {}).items()
        ]
        return self._start(scope, [scope.sent(command) for command in (start, *writes)])

    def resume_run(self, run_id: str, *, budget: str | None = None) -> Coroutine[Any, Any, AsyncRun]:
        """Goes on from a run that failed or was cancelled, in a run of its own that names it. It has the state and
        versions, and goes on from the message that ended it and those that were open then. Their handlers run again,
        and make their calls again. A run is resumed once: asked again, the same new run is given. ``budget`` in place
        of what was left.

        Raises:
            InvalidCommand: the run goes on still, or has completed.
            UnknownRun: no such run is on record.
            UnknownAgent: an agent that was to handle a message is no longer registered; start it, then resume again.
            Unanswered, Unreachable.
        """
        return self._resume(run_id, budget)

    def scope(self, run_id: str) -> Scope:
        """The sender of this client's commands about a run."""
        return Scope(self.transport, run_id, self._name, correlation_id=run_id)

    @property
    def transport(self) -> Transport:
        """The open connection. Raises RuntimeError before ``open`` and after ``close``."""
        if self._transport is None:
            raise RuntimeError("this Backplane is not open; use `async with AsyncBackplane.connect() as backplane`")
        return self._transport

    def _handle(self, scope: Scope, recipients: int | None = None) -> AsyncRun:
        return AsyncRun(self.transport, scope, recipients, self._registry)

    async def _resume(self, run_id: str, budget: str | None) -> AsyncRun:
        from agents_sdk.resume import resume

        return self._handle(await resume(self.transport, self.scope, run_id, budget))

    async def _start(self, scope: Scope, sent: list[Coroutine[Any, Any, Reply]]) -> AsyncRun:
        replies: list[Reply] = []
        for result in await asyncio.gather(*sent, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result  # the start's own refusal, if any, comes first: the others follow from it
            replies.append(result)
        return self._handle(scope, int(detail(replies[0]).get("recipients", 0)))
