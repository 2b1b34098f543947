"""The verbs of a handler about its own effects: steps, models, time, chance and sleep."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload
from uuid import UUID

from agents_sdk.branches import Branch
from agents_sdk.run_artifacts import RunArtifacts
from agents_sdk.scope import new_id
from agents_sdk.sleeping import slept
from agents_sdk.steps import Effect, Host, Options, made_now

if TYPE_CHECKING:
    from agents_sdk.attempts import Attempt
    from agents_sdk.context import Context, HandlerScope
    from agents_sdk.retry import Retry

T = TypeVar("T")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class StepHost(Host):
    """A place in one attempt at a delivery, for a step."""

    def __init__(self, scope: HandlerScope, branch: Branch) -> None:
        self.scope = scope
        self._branch = branch
        self._attempt: Attempt = scope.attempt

    @property
    def certainly_first(self) -> bool:
        """Whether no other attempt at the delivery can have been here before."""
        return self._attempt.first

    @property
    def holder(self) -> str:
        """The name of this attempt, as the holder of claims."""
        if not self._attempt.holder:
            self._attempt.holder = new_id()
        return self._attempt.holder

    def set_aside(self) -> AbstractContextManager[None]:
        """Entered while the handler waits for time to pass: others may be handled meanwhile."""
        return self.scope.waiting()

    def advance(self, at: int) -> None:
        """The handler knows that it is this late."""
        self._branch.at = max(self._branch.at, at)

    def asked(self, command_id: str) -> None:
        """The attempt has asked for what this command asked for, without sending it."""
        self._attempt.asked.add(command_id)

    async def keep(self, content: bytes, command_id: str) -> dict[str, Any]:
        """Keeps bytes as an artifact of the run; its descriptor."""
        return (await RunArtifacts(self.scope)._put(content, "", command_id)).descriptor()

    async def fetched(self, sha256: str) -> bytes:
        """The bytes of an artifact that a result of the handler's own names."""
        return await asyncio.to_thread(self.scope.requests.artifacts.get, sha256)


class StepVerbs:
    """The verbs about a handler's own effects. Each builds its command when it is called."""

    if TYPE_CHECKING:
        _attempt: Attempt
        _delivery_id: str

        def _here(self) -> Branch: ...
        def _current(self) -> Branch: ...
        def _under(self, name: str, within: str) -> Context: ...

    @overload
    def step(
        self,
        name: str,
        fn: Callable[..., Any],
        /,
        *args: Any,
        retry: Retry | int | None = None,
        timeout: float | None = None,
        effect: Effect = "safe",
        reconcile: Callable[..., Any] | None = None,
        type_: type[T],
        **kwargs: Any,
    ) -> Coroutine[Any, Any, T]: ...
    @overload
    def step(
        self,
        name: str,
        fn: Callable[..., Awaitable[T]],
        /,
        *args: Any,
        retry: Retry | int | None = None,
        timeout: float | None = None,
        effect: Effect = "safe",
        reconcile: Callable[..., Any] | None = None,
        type_: None = None,
        **kwargs: Any,
    ) -> Coroutine[Any, Any, T]: ...
    @overload
    def step(
        self,
        name: str,
        fn: Callable[..., T],
        /,
        *args: Any,
        retry: Retry | int | None = None,
        timeout: float | None = None,
        effect: Effect = "safe",
        reconcile: Callable[..., Any] | None = None,
        type_: None = None,
        **kwargs: Any,
    ) -> Coroutine[Any, Any, T]: ...
    def step(
        self,
        name: str,
        fn: Callable[..., Any],
        /,
        *args: Any,
        retry: Retry | int | None = None,
        timeout: float | None = None,
        effect: Effect = "safe",
        reconcile: Callable[..., Any] | None = None,
        type_: Any = None,
        **kwargs: Any,
    ) -> Coroutine[Any, Any, Any]:
        """Calls ``fn(*args, **kwargs)`` once, records its result, and returns what is recorded. After a crash it is
        given back without a call. ``fn`` is async, or runs in a thread. The result is JSON, and ``type_`` of it, or
        what ``fn`` is annotated to return. Bytes in it become artifacts of the run (``writes`` need ``artifacts/*``).

        ``retry``: how often it is tried, a number or ``Retry(…)``; once by default. ``timeout``: seconds of one try.
        ``effect="unsafe"``: it must not happen twice. The step is claimed first; ``timeout`` (60 s by default) is how
        long its effect may take. Where a crash falls between, ``reconcile(*args, **kwargs)`` returns the result, or
        ``NotDone``. Without it the step ends as unknown.

        ``name`` names the command, within the task that uses it. Used again there, it has a number as well.

        Raises:
            StepFailed: ``fn`` raised, with its last try; the error is recorded, so each later attempt has it too.
            StepOutcomeUnknown: a StepFailed; whether an unsafe effect happened is not known.
            ValueError, TypeError: for options that are none. RuntimeError: inside another step.
        """
        options = Options(retry, timeout, effect, reconcile, type_)
        return self.step_with(name, fn, args, kwargs, options)

    def step_with(
        self, name: str, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], options: Options
    ) -> Coroutine[Any, Any, Any]:
        """As ``step``, for options that are made already."""
        return cast("Coroutine[Any, Any, Any]", made_now(self._host(name), name, fn, args, kwargs, options))

    def model(
        self,
        name: str,
        fn: Callable[..., Any],
        /,
        *args: Any,
        prompt: str = "",
        retry: Retry | int | None = None,
        timeout: float | None = None,
        provider: str = "",
        type_: Any = None,
        **kwargs: Any,
    ) -> Coroutine[Any, Any, Any]:
        """A step that asks a model by the author's own client: ``fn`` returns its response, or a mapping like it. Its
        model, tokens and cost are read from it, as by ``step.usage``, and are on the record as an attempt.

        ``prompt`` is the name and version of the prompt, such as ``"writer@3"``. ``provider`` names the vendor where
        the model's name does not. A ``model=`` among ``kwargs`` counts where the response names none. Raises as
        ``step``."""
        options = Options(
            retry,
            timeout,
            type_=type_,
            model=True,
            asked_model=str(kwargs.get("model", "")),
            provider=provider,
            prompt=prompt,
        )
        return self.step_with(name, fn, args, kwargs, options)

    def sleep(self, seconds: float | timedelta) -> Coroutine[Any, Any, None]:
        """Waits, for days if need be: its end is recorded when it begins, so that a restarted process waits for the
        rest. Other deliveries are handled meanwhile. The agent's ``handler_timeout_seconds`` counts it. Raises
        ValueError for a time that is not above 0, or longer than a year."""
        length = seconds.total_seconds() if isinstance(seconds, timedelta) else seconds
        return slept(self._host("sleep"), length)

    def now(self) -> datetime:
        """The time that the handler knows of, the same in each attempt. It is that of the first delivery of its
        message, or of the end of this task's last step or sleep. No command is sent."""
        return EPOCH + timedelta(microseconds=max(self._current().at, self._attempt.began))

    def uuid(self) -> UUID:
        """An id that nobody else can know before, the same in each attempt. No command is sent."""
        return UUID(self._derived("uuid"))

    def random(self) -> float:
        """A random number from 0.0 up to, but without, 1.0; the same in each attempt. No command is sent."""
        return int(self._derived("random").replace("-", "")[:13], 16) / 2**52

    def _derived(self, what: str) -> str:
        place = self._attempt.place(self._current().draw(what))
        return self._attempt.id_of(self._delivery_id, place)

    def _host(self, name: str) -> StepHost:
        branch = self._here()
        return StepHost(cast("HandlerScope", self._under(name, branch.prefix)._scope), branch)
