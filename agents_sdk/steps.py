"""Steps: a handler's own effects, made in its process and recorded by one command when they end.

Order of work on a step, which is its guarantee:
1. an attempt that is not certainly the first asks what is recorded; a recorded outcome is given, and nothing runs;
2. an unsafe step is claimed. Where an earlier attempt holds the claim, its effect may have happened. ``reconcile`` says
   so when the time of that claim is over, or the step ends as ``outcome_unknown``;
3. the function runs, as often as ``retry`` says; result or error is recorded, with what its models used;
4. the handler gets what is recorded, which is what each later attempt gets.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Literal, ParamSpec, Protocol, TypeAlias, TypeVar

import msgspec

from agents_sdk import values
from agents_sdk.answers import detail, made
from agents_sdk.branches import within
from agents_sdk.core import artifacts, ids, kinds
from agents_sdk.core.commands import Command, EffectBody
from agents_sdk.core.facts import Reply
from agents_sdk.core.ids import CallId, DeliveryId
from agents_sdk.core.ledger.effects import CLAIM, END, LOOK, STEP_FAILED, USAGES_LIMIT, Usage
from agents_sdk.core.ledger.failed_calls import OUTCOME_UNKNOWN
from agents_sdk.core.ledger.retry import Policy, wait_ms
from agents_sdk.errors import AttemptTaken, CallSettled, StepFailed, StepOutcomeUnknown
from agents_sdk.retry import Retry
from agents_sdk.step_values import returned, shown
from agents_sdk.tracebacks import said
from agents_sdk.usage import usage_of

if TYPE_CHECKING:
    from agents_sdk.context import Context
    from agents_sdk.scope import Scope

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")

Effect: TypeAlias = Literal["safe", "unsafe"]
UNSAFE_TIMEOUT_S: Final = 60.0
"""Of an unsafe step without a timeout: how long its effect may still happen after its process died."""
BYTES: Final = "$bytes"
"""The key under which a recorded result has the descriptor of bytes."""


class NotDone:
    """``reconcile`` returns it, the class itself, where the effect did not happen: then the step is made again."""


@dataclass(frozen=True, slots=True)
class Options:
    """How a step is made."""

    retry: Retry | int | None = None
    timeout: float | None = None
    effect: Effect = "safe"
    reconcile: Callable[..., Any] | None = None
    type_: Any = None
    model: bool = False
    """Its result is the answer of a model, whose usage is read."""
    asked_model: str = ""
    """Where the answer names none."""
    provider: str = ""
    prompt: str = ""

    def __post_init__(self) -> None:
        if self.effect not in ("safe", "unsafe"):
            raise ValueError(f"effect is {self.effect!r}; use 'safe' or 'unsafe'")
        if isinstance(self.retry, bool) or not isinstance(self.retry, int | Retry | None):
            raise TypeError(f"retry is {self.retry!r}; use a number of attempts, or Retry(…)")
        values.milliseconds("timeout", self.timeout)
        if self.reconcile is not None and self.effect == "safe":
            raise ValueError("reconcile= is for effect='unsafe'; a safe step is made again")
        if self.effect == "unsafe" and self.policy.attempts > 1 and self.reconcile is None:
            raise ValueError("an unsafe step is tried again only where reconcile= can say that nothing happened")

    @property
    def policy(self) -> Policy:
        """When it is tried again."""
        retry = Retry(attempts=self.retry) if isinstance(self.retry, int) else self.retry
        policy = msgspec.json.decode(retry.policy(), type=Policy) if retry is not None else Policy(attempts=1)
        return policy if policy.attempts else Policy(attempts=3, initial_ms=policy.initial_ms)


@dataclass(slots=True)
class Running:
    """A step whose function runs."""

    name: str
    options: Options
    usages: list[Usage] = field(default_factory=list)


running_step: ContextVar[Running | None] = ContextVar("backplane_step", default=None)
current_context: ContextVar[Context | None] = ContextVar("backplane_context", default=None)
"""The context of the handler that runs; for ``@step``."""


def check_outside() -> None:
    """Raises RuntimeError inside a step: what it asked for would be missing in the next attempt, which is given the
    result."""
    running = running_step.get()
    if running is not None:
        raise RuntimeError(
            f"step {running.name!r} used ctx, whose commands would be missing when the step is given from the record;"
            " use ctx before or after the step, or make them steps of their own"
        )


class Host(Protocol):
    """The place of a step, in one attempt at a delivery."""

    scope: Scope

    @property
    def certainly_first(self) -> bool:
        """Whether no other attempt at the delivery can have been here before."""

    @property
    def holder(self) -> str:
        """The name of this attempt, as the holder of claims."""

    def set_aside(self) -> AbstractContextManager[None]:
        """Entered while the handler waits for time to pass."""

    def advance(self, at: int) -> None:
        """The handler knows that it is this late, microseconds UTC."""

    def asked(self, command_id: str) -> None:
        """The attempt has asked for what this command asked for, without sending it."""

    async def keep(self, content: bytes, command_id: str) -> dict[str, Any]:
        """Keeps bytes as an artifact of the run; its descriptor."""

    async def fetched(self, sha256: str) -> bytes:
        """The bytes of an artifact."""


def made_now(host: Host, name: str, fn: Any, args: Any, kwargs: Any, options: Options) -> Any:
    """Builds the step's command now, its id included; awaited, makes the step and returns its result."""
    params = shown(args, kwargs)
    body = EffectBody(
        name=name,
        params=params,
        mode=LOOK,
        unsafe=options.effect == "unsafe",
    )
    command = host.scope.command(kinds.RECORD_STEP, body)
    return _Step(host, command, body, fn, args, kwargs, options).made()


class _Step:
    """One step of one attempt."""

    def __init__(
        self, host: Host, command: Command, body: EffectBody, fn: Any, args: Any, kwargs: Any, options: Options
    ) -> None:  # fmt: skip
        self._host = host
        self._scope = host.scope
        self._command = command
        self._body = body
        self._fn = fn
        self._args = args
        self._kwargs = kwargs
        self._options = options
        self._tries = 0
        self._number = 1
        """Of the claim that this attempt holds."""

    async def made(self) -> Any:
        if self._options.effect == "unsafe":
            return await self._unsafe()
        if not self._host.certainly_first:
            reply = await self._scope.sent(self._command)
            if reply.event_id:
                return await self._given(reply)
        body, error = await self._ended(self._body)
        reply = await self._scope.sent(msgspec.structs.replace(self._command, effect=body))
        return await self._given(reply, error)

    async def _unsafe(self) -> Any:
        holder, lease = self._host.holder, self._options.timeout or UNSAFE_TIMEOUT_S
        claim = msgspec.structs.replace(
            self._body,
            mode=CLAIM,
            holder=holder,
            lease_ms=values.milliseconds("timeout", lease),
            started_at=time.time_ns() // 1_000,
        )
        while True:
            reply = await self._scope.sent(msgspec.structs.replace(self._command, effect=claim))
            if reply.code != CLAIM:
                return await self._given(reply)
            held = detail(reply)
            self._number = int(held["attempt"])
            try:
                ended, error = await (self._effect() if held["holder"] == holder else self._settled(held, claim))
            except (CallSettled, AttemptTaken):
                continue  # by another attempt, whose word holds
            return await self._given(ended, error)

    async def _settled(self, held: dict[str, Any], claim: EffectBody) -> tuple[Reply, Exception | None]:
        """Settles a step that another attempt has claimed. Raises CallSettled, AttemptTaken."""
        with self._host.set_aside():
            await asyncio.sleep(int(held["lease_us"]) / 1e6)
        if self._options.reconcile is None:
            return await self._unknown("its process ended before it said how the effect ended"), None
        found = await self._reconciled()
        if found is NotDone:
            await self._claim_again(claim)
            return await self._effect()
        body = await self._with_result(self._end(), found)
        return await self._settle(body), None

    async def _reconciled(self) -> Any:
        running = Running(self._body.name, self._options)
        return await called(self._options.reconcile, self._args, self._kwargs, running, self._options.timeout)

    async def _claim_again(self, claim: EffectBody) -> None:
        number = self._number + 1
        body = msgspec.structs.replace(
            claim, call_id=CallId(self._command.command_id), attempt=number, params="", started_at=micros()
        )
        await self._send(body, f"claim/{number}/{claim.holder}")
        self._number = number

    async def _effect(self) -> tuple[Reply, Exception | None]:
        """The effect, in an attempt that holds the claim."""
        body, error = await self._ended(self._end())
        if error is None or self._options.reconcile is None:
            if isinstance(error, TimeoutError):
                return await self._unknown(body.error_message), error
            return await self._settle(body), error
        found = await self._reconciled()
        if found is not NotDone:
            return await self._settle(await self._with_result(body, found)), None
        return await self._settle(body), error

    def _end(self) -> EffectBody:
        return msgspec.structs.replace(
            self._body, call_id=CallId(self._command.command_id), holder=self._host.holder, params=""
        )

    async def _unknown(self, text: str) -> Reply:
        body = msgspec.structs.replace(self._end(), mode=END, error_code=OUTCOME_UNKNOWN, error_message=text)
        return await self._settle(body)

    async def _settle(self, body: EffectBody) -> Reply:
        return await self._send(body, f"end/{self._number}/{body.holder}")

    async def _send(self, body: EffectBody, name: str) -> Reply:
        command_id = self._scope.id_of(self._command.command_id, name)
        return await self._scope.sent(self._scope.command(kinds.SETTLE_STEP, body, command_id))

    async def _ended(self, body: EffectBody) -> tuple[EffectBody, Exception | None]:
        """Runs the function, as often as its policy says: what is to be recorded, and its error."""
        options, policy = self._options, self._options.policy
        running = Running(body.name, options)
        began, clock = micros(), time.perf_counter_ns()
        error: Exception | None = None
        for attempt in range(1, policy.attempts + 1):
            self._tries = attempt
            try:
                result = await called(self._fn, self._args, self._kwargs, running, options.timeout)
                if options.model:
                    note(running, _answered(result, options), began, clock)
                body = await self._with_result(body, result)
                error = None
                break
            except Exception as raised:  # noqa: BLE001  # whatever an author's code raises is recorded
                error = raised
            if not await self._again(error, attempt, policy):
                break
        told = f"{type(error).__qualname__}: {said(error)}" if error is not None else ""
        ended = msgspec.structs.replace(
            body,
            mode=END,
            error_code=STEP_FAILED if error is not None else "",
            error_message=told,
            attempts=self._tries,
            latency_us=(time.perf_counter_ns() - clock) // 1_000,
            started_at=began,
            usages=ids.canonical(running.usages) if running.usages else "",
        )
        return ended, error

    async def _again(self, error: Exception, attempt: int, policy: Policy) -> bool:
        """Whether it is tried again, after the wait."""
        if attempt >= policy.attempts:
            return False
        if self._options.effect == "unsafe" and await self._reconciled() is not NotDone:
            return False
        await asyncio.sleep(wait_ms(policy, attempt, DeliveryId(self._command.command_id)) / 1_000)
        return True

    async def _with_result(self, body: EffectBody, result: Any) -> EffectBody:
        kept = await self._kept(result)
        text = values.to_json(kept, self._scope.limit, "the result of the step")
        return msgspec.structs.replace(body, mode=END, result=text, error_code="", error_message="")

    async def _kept(self, value: Any) -> Any:
        """The value with its bytes replaced by descriptors of artifacts, which the run has from now on."""
        if isinstance(value, bytes | bytearray | memoryview):
            content = bytes(value)
            digest = sha256(content).hexdigest()
            return {BYTES: await self._host.keep(content, self._bytes_id(digest))}
        if isinstance(value, dict) and any(not isinstance(one, str | int | float | None) for one in value.values()):
            return {key: await self._kept(one) for key, one in value.items()}
        if isinstance(value, list | tuple) and any(not isinstance(one, str | int | float | None) for one in value):
            return [await self._kept(one) for one in value]
        return value

    def _bytes_id(self, digest: str) -> str:
        return self._scope.id_of(self._command.command_id, f"bytes/{digest}")

    async def _given(self, reply: Reply, error: Exception | None = None) -> Any:
        """The recorded outcome, for the handler. Raises StepFailed."""
        fields = detail(reply)
        self._host.advance(int(fields.get("at", 0)))
        if reply.status != "ok":
            raise self._failed(reply, fields) from error
        for digest in artifacts.named(reply.value):
            self._host.asked(self._bytes_id(digest))
        value = values.from_json(reply.value) if reply.value else None
        if BYTES in reply.value:
            value = await self._fetched(value)
        type_ = self._options.type_ if self._options.type_ is not None else returned(self._fn)
        if type_ is None:
            return value
        return values.converted(value, type_, f"the recorded result of step {self._body.name!r}")

    async def _fetched(self, value: Any) -> Any:
        if isinstance(value, dict):
            if set(value) == {BYTES}:
                return await self._host.fetched(str(value[BYTES]["sha256"]))
            return {key: await self._fetched(one) for key, one in value.items()}
        return [await self._fetched(one) for one in value] if isinstance(value, list) else value

    def _failed(self, reply: Reply, fields: dict[str, Any]) -> StepFailed:
        kind, _, _ = str(fields.get("said", "")).partition(":")
        name = self._body.name
        fields = {"step": name, "call_id": self._command.command_id, "error_code": reply.code, **fields}
        if reply.code == OUTCOME_UNKNOWN:
            return made(StepOutcomeUnknown, f"step {name!r}: whether its effect happened is not known", fields)
        return made(StepFailed, f"step {name!r} failed", {"error_type": kind, **fields})


async def called(fn: Any, args: Any, kwargs: Any, running: Running, timeout: float | None) -> Any:
    """The function's result; a function that is not async runs in a thread."""
    token = running_step.set(running)
    try:
        # in no branch of the handler: tasks of the step must not count, since they are not there the next time
        with within(None):
            async with asyncio.timeout(values.time_limit("timeout", timeout)):
                if _is_async(fn):
                    return await fn(*args, **kwargs)
                result = await asyncio.to_thread(fn, *args, **kwargs)
                return await result if inspect.isawaitable(result) else result
    finally:
        running_step.reset(token)


def _answered(answer: Any, options: Options) -> Usage:
    usage = usage_of(answer, provider=options.provider)
    return usage if usage.model else usage_of(answer, options.asked_model, options.provider)


def _is_async(fn: Any) -> bool:
    plain = inspect.unwrap(fn.func if isinstance(fn, functools.partial) else fn)
    return inspect.iscoroutinefunction(plain) or inspect.iscoroutinefunction(getattr(plain, "__call__", None))  # noqa: B004


def note(running: Running, usage: Usage, began: int = 0, clock: int = 0) -> None:
    options = running.options
    if options.prompt and not usage.prompt_version:
        usage = msgspec.structs.replace(usage, prompt_version=options.prompt)
    if clock and not usage.latency_us:
        latency = (time.perf_counter_ns() - clock) // 1_000
        usage = msgspec.structs.replace(usage, latency_us=latency, started_at=began)
    if len(running.usages) >= USAGES_LIMIT:
        raise ValueError(f"a step tells of at most {USAGES_LIMIT} answers of models; make several steps of it")
    running.usages.append(usage)


def micros() -> int:
    return time.time_ns() // 1_000
