"""The asynchronous face: connect, start runs, speak about them. ``agents_sdk.blocking`` has the other one."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar, overload

from agents_sdk import operations
from agents_sdk.answers import detail
from agents_sdk.core.commands import StateBody
from agents_sdk.core.facts import CallEvent, Reply
from agents_sdk.operations import ASK_TIMEOUT_S, REQUEST, CallResult
from agents_sdk.run import AsyncRun
from agents_sdk.scope import Scope, new_id
from agents_sdk.state import State, memory_run
from agents_sdk.values import to_json

if TYPE_CHECKING:
    from agents_sdk.recovery import Rank, RecoveryConfig
    from agents_sdk.settings import Settings
    from agents_sdk.transport import Transport


T = TypeVar("T")


class RunLike(Protocol):
    """A run handle of either face."""

    @property
    def id(self) -> str:
        """The run's id."""


class AsyncComms:
    """Messages and dependencies between agents, said by a client. ``run`` is a run handle, or a run's id."""

    def __init__(self, client: AsyncBackplane) -> None:
        self._client = client

    def declare_dependency(
        self,
        downstream: str,
        depends_on: Iterable[str],
        *,
        run: RunLike | str,
        trigger_when: str = "all_completed",
        count: int = 0,
        name: str = "",
        deadline_seconds: float | None = None,
    ) -> Coroutine[Any, Any, bool]:
        """Triggers ``downstream`` once, with the message ``name`` (default ``dependency.satisfied``), when what it
        depends on is there; also where it was before. Whether that is so already. Whoever is triggered finds all that
        it waited for.

        ``depends_on`` has agents by name (all of an agent's work in the run is completed), ``event:search.completed``
        (a message of that name was published) and ``state:findings`` (the key has a value). ``trigger_when`` is
        ``all_completed``, ``any_completed``, or ``n_completed`` with ``count``. Where it is not met
        ``deadline_seconds`` from now, the supervisor of ``downstream`` is told; without one the run fails.

        Raises:
            UnknownAgent: ``downstream``, or an agent it depends on.
            InvalidCommand: among others for agents that would wait for each other; it names the cycle.
            RunFinished, UnknownRun, Unanswered, Unreachable.
        """
        scope = self._client.scope(run)
        return operations.declare_dependency(scope, downstream, depends_on, trigger_when, name, count, deadline_seconds)

    def publish(
        self, name: str, data: Any = None, *, run: RunLike | str, deadline_seconds: float | None = None
    ) -> Coroutine[Any, Any, int]:
        """Sends a message to every agent that subscribed to its name; how many they are. What is not handled
        ``deadline_seconds`` from now expires: it becomes a dead letter. Raises InvalidCommand,
        Oversize, RunFinished, UnknownRun, Unanswered, Unreachable."""
        return operations.publish(self._client.scope(run), name, data, deadline_seconds)

    def send(
        self, agent: str, name: str, data: Any = None, *, run: RunLike | str, deadline_seconds: float | None = None
    ) -> Coroutine[Any, Any, str]:
        """Sends a message to one agent; the message's id. Raises UnknownAgent, and what ``publish`` raises."""
        return operations.send(self._client.scope(run), agent, name, data, deadline_seconds)

    @overload
    def ask(
        self,
        agent: str,
        data: Any = None,
        *,
        run: RunLike | str,
        timeout: float | None = ASK_TIMEOUT_S,
        name: str = REQUEST,
        type_: type[T],
    ) -> Coroutine[Any, Any, T]: ...
    @overload
    def ask(
        self,
        agent: str,
        data: Any = None,
        *,
        run: RunLike | str,
        timeout: float | None = ASK_TIMEOUT_S,
        name: str = REQUEST,
        type_: None = None,
    ) -> Coroutine[Any, Any, Any]: ...
    def ask(
        self,
        agent: str,
        data: Any = None,
        *,
        run: RunLike | str,
        timeout: float | None = ASK_TIMEOUT_S,
        name: str = REQUEST,
        type_: type[T] | None = None,
    ) -> Coroutine[Any, Any, Any]:
        """Sends a message to one agent and returns what its handler returns: JSON, or ``type_`` (anything pydantic
        validates). The handler is that of the message's ``name``; it gets ``data`` as any message. ``timeout`` in
        seconds, from now until the answer; None: as long as the run lives.

        Raises:
            RequestExpired: no answer in time; the message is in the dead letters, and a late answer changes nothing.
            RequestFailed: the handler failed with its last attempt.
            ContractBroken: the answer does not fit ``type_``.
            InvalidCommand: the data or the name is none.
            UnknownAgent, ScopeDenied, Oversize, RunFinished, Unanswered, Unreachable.
        """
        return operations.ask(self._client.scope(run), agent, data, name, timeout, type_)

    def discard(
        self, delivery_id: str, reason: str, *, run: RunLike | str, agent: str = "", name: str = ""
    ) -> Coroutine[Any, Any, str]:
        """Gives a dead letter of the run up, for a reason, also when the run has ended; the id of the fact. ``agent``
        and ``name`` say whose message it was, for the record. Raises InvalidCommand (no reason, no such letter),
        Unanswered, Unreachable."""
        return operations.discard(self._client.scope(run), delivery_id, reason, agent, name)

    def discard_call(
        self, call_id: str, reason: str, *, run: RunLike | str, capability: str = ""
    ) -> Coroutine[Any, Any, str]:
        """Gives a failed call of the run up, as ``discard``."""
        return operations.discard_call(self._client.scope(run), call_id, reason, capability)

    def redrive(self, delivery_id: str, *, run: RunLike | str) -> Coroutine[Any, Any, str]:
        """Puts a dead letter of the run in its agent's inbox again, with attempts anew; the id of the fact. Raises
        InvalidCommand (no such dead letter, or redriven too often), RunFinished, UnknownRun, Unanswered, Unreachable.
        """
        return operations.redrive(self._client.scope(run), delivery_id)


class AsyncBackplane:
    """A connection to Backplane. ``async with AsyncBackplane.connect() as backplane: …``

    Belongs to the event loop it was opened in. Operations are built when they are called and sent when they are
    awaited.
    """

    def __init__(self, settings: Settings | None, name: str) -> None:
        self._settings = settings
        self._name = name
        self._transport: Transport | None = None
        self.comms = AsyncComms(self)
        """Messages and dependencies."""

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
        return AsyncRun(self.transport, self.scope(run_id))

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
        as ``"0.40 USD"``, is what it may spend on calls with all its children; None: no limit. ``state`` is
        written right behind the start, in the same breath: before any agent can have received its message. ``tags`` are
        words by which people find the run again, 20 at most.

        Raises:
            RunExists: a run with this ``run_id`` was started by somebody else.
            InvalidCommand, Oversize: the input or a state value is not JSON or too large; nothing is sent.
            Unanswered, Unreachable.
        """
        scope = self.scope(run_id or new_id())
        start = scope.command(
            "StartRun", operations.start_body(scope, workflow, input, complete_when, deadline_seconds, budget, tags)
        )
        writes = [
            scope.command("SetState", StateBody(key=key, value=to_json(value, scope.limit, f"state {key!r}")))
            for key, value in (state or {}).items()
        ]
        return self._start(scope, [scope.sent(command) for command in (start, *writes)])

    def resume_run(self, run_id: str, *, budget: str | None = None) -> Coroutine[Any, Any, AsyncRun]:
        """Goes on from a run that failed or was cancelled, in a run of its own that names it: with its state and
        versions, from the message that ended it and those that were open then. Their handlers run again, and make their
        calls again. A run is resumed once: asked again, the same new run is given. ``budget`` in place of what was
        left.

        Raises:
            InvalidCommand: the run goes on still, or has completed.
            UnknownRun: no such run is on record.
            UnknownAgent: an agent that was to handle a message is no longer registered; start it, then resume again.
            Unanswered, Unreachable.
        """
        return self._resume(run_id, budget)

    def execute(
        self,
        capability: str,
        params: Any = None,
        *,
        run: RunLike | str,
        timeout_seconds: float | None = None,
        budget: str | None = None,
        rank: Rank | None = None,
    ) -> Coroutine[Any, Any, CallResult]:
        """Calls a capability in a run and returns its result. ``timeout_seconds`` is for all attempts together; None:
        the capability's default. ``budget``, such as ``"0.05 USD"``, is what they may cost together; None: half of what
        the run has left, where it has a budget. ``rank`` is the order in which providers are
        asked: ``declared``, ``cheapest``, ``fastest`` or ``healthiest``; None: the capability's.

        Raises:
            BudgetExceeded: the run has not that much left; or, a CallFailed as well, an attempt might cost more.
            CallFailed: no provider gave a result; the fields say what was tried.
            InvalidCommand, Oversize, RunFinished, UnknownRun, Unanswered, Unreachable.
        """
        return operations.execute(
            self.scope(run), capability, params, timeout_seconds, budget, operations.rank_config(rank)
        )

    def execute_with_recovery(
        self,
        capability: str,
        params: Any = None,
        config: RecoveryConfig | dict[str, Any] | None = None,
        *,
        run: RunLike | str,
        budget: str | None = None,
    ) -> Coroutine[Any, Any, CallResult]:
        """Calls a capability in a run and returns its result. Where an attempt fails it is helped as ``config`` says,
        over what the capability declares::

            {"retry": {"max_attempts": 3, "backoff": "exponential"}, "degraded_result": {...}, "timeout_seconds": 30}

        Every key is optional; ``agents_sdk.RecoveryConfig`` explains them. A degraded result comes back with
        ``degraded`` set.

        Raises:
            InvalidCommand: the config is none; ``fields["field"]`` names what is wrong, and nothing was sent.
            CallFailed, and what ``execute`` raises.
        """
        return operations.execute_with_recovery(self.scope(run), capability, params, config, budget)

    def redrive_call(self, call_id: str, *, run: RunLike | str) -> Coroutine[Any, Any, CallResult]:
        """Makes a failed call of the run anew and returns its result. Raises InvalidCommand (no such failed call, its
        outcome is unknown, or it was redriven too often), and what ``execute`` raises."""
        return operations.redrive_call(self.scope(run), call_id)

    def repeat_call(self, failed: CallEvent, *, run: RunLike | str) -> Coroutine[Any, Any, CallResult]:
        """Makes a failed call of a run that has ended anew in ``run``, as the fact of its failure has it. Raises as
        ``redrive_call``."""
        return operations.repeat_call(self.scope(run), failed)

    def scope(self, run: RunLike | str) -> Scope:
        """Whom the commands of this client about ``run`` are from."""
        run_id = run if isinstance(run, str) else run.id
        return Scope(self.transport, run_id, self._name, correlation_id=run_id)

    @property
    def transport(self) -> Transport:
        """The open connection. Raises RuntimeError before ``open`` and after ``close``."""
        if self._transport is None:
            raise RuntimeError("this Backplane is not open; use `async with AsyncBackplane.connect() as backplane`")
        return self._transport

    async def _resume(self, run_id: str, budget: str | None) -> AsyncRun:
        from agents_sdk.resume import resume

        return AsyncRun(self.transport, await resume(self.transport, self.scope, run_id, budget))

    async def _start(self, scope: Scope, sent: list[Coroutine[Any, Any, Reply]]) -> AsyncRun:
        replies: list[Reply] = []
        for result in await asyncio.gather(*sent, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result  # the start's own refusal, if any, comes first: the others follow from it
            replies.append(result)
        return AsyncRun(self.transport, scope, int(detail(replies[0]).get("recipients", 0)))
