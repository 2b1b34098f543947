"""``ctx``: what a handler does things with.

Handlers are durable. Every command of a handler has an id that derives from its delivery. The rest of it is the
command's place in the order of the handler's calls, or the name that the handler gave it. After a crash a delivery is
handled again, and the ledger gives the answers of the first time. Nothing happens twice. So a handler must ask for the
same in the same places each time: plain ``await`` and ``ctx.gather`` do. Where it asks for something else, it has
diverged, and its delivery is parked. ``ctx.named`` gives commands a place that no other command moves, in any task.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, overload

import msgspec

from agents_sdk import operations
from agents_sdk.attempts import NAME_CHARS, Attempt
from agents_sdk.branches import Branch, branch, name_tasks, within
from agents_sdk.core import ids, kinds
from agents_sdk.core.commands import Command, MessageBody
from agents_sdk.core.facts import MessageEvent, Reply
from agents_sdk.core.ledger.fingerprints import ASKS
from agents_sdk.core.ledger.rules import DURABLE
from agents_sdk.core.tools import Format, read_call
from agents_sdk.discovery import LIMIT, CapabilityMatch
from agents_sdk.errors import DeliverySettled, Diverged
from agents_sdk.operations import CallResult
from agents_sdk.scope import REQUEST_TIMEOUT_S, Requests, Scope
from agents_sdk.state import State, memory_run
from agents_sdk.step_verbs import StepVerbs
from agents_sdk.steps import check_outside, current_context
from agents_sdk.toolbox import Toolbox, called
from agents_sdk.verbs import RunVerbs

if TYPE_CHECKING:
    from agents_sdk.local import LocalCalls
    from agents_sdk.recovery import Rank, RecoveryConfig

log = logging.getLogger("backplane.agents")

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")


class HandlerStopped(BaseException):
    """The delivery was handled to its end by somebody else, or this attempt diverged. Not an Exception, so that a
    handler which catches those ends as well."""


class HandlerExited(RuntimeError):
    """A handler wanted to end its process, which is not its own."""


WAITS: Final = frozenset({kinds.ASK, kinds.AWAIT_CHILD})
"""Kinds that are answered when other handlers are done, perhaps of the same agent."""


class HandlerScope(Scope):
    """A scope whose refusals of a settled delivery stop the handler, and which says when the handler waits."""

    __slots__ = ("attempt", "waiting")
    attempt: Attempt
    waiting: Callable[[], AbstractContextManager[None]]

    def about(self, run_id: str) -> Self:
        """As Scope, in the same attempt."""
        return self._in_attempt(super().about(run_id))

    def under(self, next_id: Callable[[], str]) -> Self:
        """The same sender about the same run, whose commands have other places."""
        other = self._in_attempt(super().about(self.run_id))
        other.next_id = next_id
        return other

    def _in_attempt(self, other: Self) -> Self:
        other.attempt, other.waiting, other.local, other.step = self.attempt, self.waiting, self.local, self.step
        return other

    async def sent(self, command: Command, timeout: float | None = REQUEST_TIMEOUT_S) -> Reply:
        """As Scope. Raises HandlerStopped."""
        if self.attempt.diverged is not None:
            raise HandlerStopped(str(self.attempt.diverged))
        if command.run_id == self.attempt.delivery.run_id and command.kind in ASKS:
            self.attempt.asked.add(command.command_id)
        try:
            if command.kind not in WAITS:
                return await super().sent(command, timeout)
            with self.waiting():
                return await super().sent(command, timeout)
        except DeliverySettled as settled:
            raise HandlerStopped(str(settled)) from settled
        except Diverged as diverged:
            self.attempt.diverged = diverged
            log.warning("agent %s: delivery %s diverged: %s", self.agent, self.delivery_id, diverged)
            raise HandlerStopped(str(diverged)) from diverged
        except asyncio.CancelledError:
            if command.kind == kinds.ASK:
                self._withdraw(command)
            raise

    def _withdraw(self, asked: Command) -> None:
        """Says that the answer is waited for no longer, by ``asyncio.wait_for`` say: else a question in return would be
        refused. The id is none of the handler's own, whose order must not depend on how long an answer takes."""
        assert asked.message is not None
        name = f"withdrawn/{self.requests.client_id}/{self.causation_id}"
        body = MessageBody(name=asked.message.name, request_id=asked.command_id)
        said = self.command(kinds.WITHDRAW_REQUEST, body, self.id_of(asked.command_id, name))
        self.requests.send(msgspec.structs.replace(said, reply_to="", reply_partition=0))


class Context(StepVerbs, RunVerbs):
    """One handling of one delivery. Made by the runner, in the task of the handler."""

    def __init__(
        self,
        requests: Requests,
        agent: str,
        delivery: MessageEvent,
        toolbox: Toolbox | None = None,
        waiting: Callable[[], AbstractContextManager[None]] = nullcontext,
        local: LocalCalls | None = None,
        ids_key: bytes = b"",
        got: Callable[[int], None] | None = None,
        *,
        first: bool = False,
    ) -> None:
        """``waiting`` is entered while the handler waits for others; ``local`` makes calls in this process. The ids of
        its commands derive from the secret ``ids_key``; ``got`` gets the number of each before it is sent.
        ``first``: certainly no other attempt at the delivery was made before."""
        self._attempt = Attempt(delivery, got, first=first, id_of=partial(ids.keyed, ids_key))
        self._delivery_id = delivery.delivery_id
        self._began = delivery.run_seq
        self._root = Branch(self, "")
        self._toolbox = toolbox
        scope = HandlerScope(
            requests,
            delivery.run_id,
            agent,
            correlation_id=delivery.correlation_id,
            causation_id=delivery.event_id,
            delivery_id=delivery.delivery_id,
            next_id=self._next_id,
            ids_key=ids_key,
        )
        scope.attempt, scope.waiting, scope.local = self._attempt, waiting, local
        scope.step = partial(getattr, self._attempt, "step")
        super().__init__(scope)

    def named(self, name: str) -> Context:
        """This context for one step: its commands have their ids by the name and not by their place. So a command that
        is inserted, removed or moved changes nothing for them. They may be sent in any task. For example::

            await ctx.named("draft").state.set("draft", text)

        A name that is used again in the same attempt has a number as well, by the order of its use. Raises ValueError
        for a name of no or of more than 200 characters."""
        return self._under(name, self._root.prefix)

    def _under(self, name: str, within: str) -> Context:
        other = copy(self)
        at = self._here().at
        other._root = Branch(other, self._attempt.prefix_of(name, within), named=True, at=at)
        assert isinstance(self._scope, HandlerScope)
        RunVerbs.__init__(other, self._scope.under(other._next_id))
        return other

    @property
    def run_id(self) -> str:
        """The run this delivery belongs to."""
        return self._scope.run_id

    @property
    def agent(self) -> str:
        """The name of the agent that handles it."""
        return self._scope.agent

    def memory(self, namespace: str) -> State:
        """A long-term memory, shared by all runs: the same operations as ``state``, for what outlives the run. It
        exists as soon as it is used. A role's ``reads`` and ``writes`` see its keys as ``memory/<namespace>/<key>``.
        Raises ValueError for a namespace that is not allowed."""
        return State(self._scope.about(memory_run(namespace)))

    def execute(
        self,
        capability: str,
        params: Any = None,
        *,
        timeout_seconds: float | None = None,
        budget: str | None = None,
        rank: Rank | None = None,
        retry_failed: bool = False,
        name: str = "",
    ) -> Coroutine[Any, Any, CallResult]:
        """As ``RunVerbs.execute``. When the message is handled again, the call is not made again: its recorded outcome
        is given, a failure too.

        ``retry_failed`` makes it again where it failed in an earlier attempt, as a call of its own that names the
        failed one. It does so ten times at most, and never where the effect of the call may have happened. ``name``
        gives the call its id, as ``named``.
        """
        return operations.execute(
            self.named(name)._scope if name else self._scope,
            capability,
            params,
            timeout_seconds,
            budget,
            operations.rank_config(rank),
            self._began if retry_failed else 0,
        )

    def execute_with_recovery(
        self,
        capability: str,
        params: Any = None,
        config: RecoveryConfig | dict[str, Any] | None = None,
        *,
        budget: str | None = None,
        retry_failed: bool = False,
        name: str = "",
    ) -> Coroutine[Any, Any, CallResult]:
        """As ``RunVerbs.execute_with_recovery``; ``retry_failed`` and ``name`` as in ``execute``."""
        again_before = self._began if retry_failed else 0
        scope = self.named(name)._scope if name else self._scope
        return operations.execute_with_recovery(scope, capability, params, config, budget, again_before)

    async def discover(self, need: str, *, limit: int = LIMIT) -> list[CapabilityMatch]:
        """The capabilities that fit a need in words, best first, each with its description and the schema of its
        params. They are those that the agent's ``capabilities`` allow and that can be called now. The registry is that
        of this moment. When the handler runs again it may have changed, while the results of calls are those of the
        first time."""
        return self._tools().discover(need, limit)

    def tools(self, format: Format = "openai", *, names: Iterable[str] | None = None) -> list[dict[str, Any]]:
        """Definitions of what the agent may call, for a language model: ``openai``, ``anthropic`` or ``mcp``.
        ``names`` takes only those, in that order, as ``discover`` found them. Raises ValueError for another format,
        LookupError for a name that the agent may not call or nobody provides."""
        return self._tools().definitions(format, names)

    async def call_tool(
        self, call: Any, format: Format | None = None, *, timeout_seconds: float | None = None
    ) -> dict[str, Any]:
        """Carries out a model's tool call and returns the message that tells the model its result. ``call`` is an entry
        of OpenAI's ``tool_calls``, a block ``tool_use`` of Anthropic's or the params of MCP's ``tools/call``. Its shape
        shows its form where ``format`` does not say. A call that fails, is not allowed or cannot be read is an answer
        for the model as well, which may do better. Several at once: ``await ctx.gather(*map(ctx.call_tool, calls))``.
        The call's own id names the command, so tool calls may be made in any task. Raises TypeError for what is no tool
        call, RunFinished, Unanswered, Unreachable."""
        name = read_call(call, format).id[:NAME_CHARS] if self._attempt.delivery.rules >= DURABLE else ""
        return await called(self.named(name) if name else self, call, format, timeout_seconds)

    def _tools(self) -> Toolbox:
        if self._toolbox is None:
            raise RuntimeError("this context follows no registry; only those that a runner makes do")
        return self._toolbox

    def complete_run(self, result: Any = None) -> Coroutine[Any, Any, None]:
        """Ends the run as completed, with a JSON result. Raises InvalidCommand, Oversize, RunFinished, Unanswered,
        Unreachable."""
        return operations.complete_run(self._scope, result)

    def fail_run(self, reason: str) -> Coroutine[Any, Any, None]:
        """Ends the run as failed. Raises as ``complete_run``."""
        return operations.fail_run(self._scope, reason)

    def cancel_run(self, reason: str = "") -> Coroutine[Any, Any, None]:
        """Ends the run as cancelled. Raises as ``complete_run``."""
        return operations.cancel_run(self._scope, reason)

    @overload
    def gather(self, first: Awaitable[A], second: Awaitable[B], /) -> Coroutine[Any, Any, tuple[A, B]]: ...
    @overload
    def gather(
        self, first: Awaitable[A], second: Awaitable[B], third: Awaitable[C], /
    ) -> Coroutine[Any, Any, tuple[A, B, C]]: ...
    @overload
    def gather(self, *awaitables: Awaitable[T]) -> Coroutine[Any, Any, tuple[T, ...]]: ...
    def gather(self, *awaitables: Awaitable[Any]) -> Coroutine[Any, Any, tuple[Any, ...]]:
        """Awaits all at once and returns their results in order. Each may be an operation of ``ctx`` or a coroutine
        that uses ``ctx`` itself. Each has an order of calls of its own, so the ids do not depend on who is faster.
        Waits for all to end; if some raised, the error of the first of them in order is raised."""
        here = self._current()
        return self._gathered(here, f"{here.next()}.", awaitables)

    async def _gathered(self, here: Branch, prefix: str, awaitables: Iterable[Awaitable[Any]]) -> tuple[Any, ...]:
        branches = [Branch(self, f"{prefix}{index}.", at=here.at) for index, _ in enumerate(awaitables)]
        run = (self._in_branch(each, one) for each, one in zip(branches, awaitables, strict=True))
        results = await asyncio.gather(*run, return_exceptions=True)
        here.at = max((here.at, *(each.at for each in branches)))
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return tuple(results)

    async def _in_branch(self, own: Branch, awaitable: Awaitable[Any]) -> Any:
        own.task = asyncio.current_task()
        branch.set(own)
        try:
            return await awaitable
        except SystemExit as exited:  # in a task of its own it would end the process, and with it all other handlers
            raise HandlerExited(f"the handler called sys.exit({exited.code!r})") from exited

    def _here(self) -> Branch:
        """The branch of the running task; the handler's own where it has none."""
        found = branch.get()
        return found if found is not None and found.context is self and found.here() else self._root

    def _current(self) -> Branch:
        found = self._here()
        if not found.here():
            raise RuntimeError(
                "a handler's operations were called from a task that has no place in their order, so it is left to"
                " chance; await them in the handler, name them by ctx.named(…), or run coroutines side by side with"
                " ctx.gather(…)"
            )
        return found

    def _next_id(self) -> str:
        check_outside()
        return self._scope.id_of(self._delivery_id, self._attempt.next(self._current()))

    @contextmanager
    def _entered(self) -> Iterator[None]:
        """The handler runs in this task."""
        name_tasks(asyncio.get_running_loop())
        token = current_context.set(self)
        try:
            with within(self._root):
                yield
        finally:
            current_context.reset(token)


def entered(context: Context) -> AbstractContextManager[None]:
    """Around the handler, in its task: tasks that it starts have branches, and ``@step`` finds the context."""
    return context._entered()


def attempt_of(context: Context) -> Attempt:
    """The attempt that a context belongs to."""
    return context._attempt
