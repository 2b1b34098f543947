"""One call from request to outcome: asks the core what to do next, does it, reports it.

Order of work, which is guarantee G8: an unsafe attempt is claimed in the log before its provider is asked; every
attempt is reported as it ends; the call is finished here only when its outcome is durable in the log.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol

import stamina

from agents_sdk.core import ids
from agents_sdk.core.commands import Command
from agents_sdk.core.facts import CallEvent, Reply
from agents_sdk.recovery import RecoveryConfig
from services.capabilities import ceiling, plan, reports
from services.capabilities.decide import Call, Degrade, Fail, Step, Succeed, Tried, next_step
from services.capabilities.model import Provider
from services.capabilities.outcome import Answer, AttemptOutcome, AttemptRequest, Failure
from services.capabilities.pricing import charge
from services.capabilities.providers.fleet import Claim, Ranking
from services.capabilities.registry import Contract, Registry, UnknownCapability

TAKEN: Final = "attempt_taken"
"""The ledger's refusal of a claim, see agents_sdk.errors.AttemptTaken."""


class Outbox(Protocol):
    """The way to the ledger."""

    def send(self, commands: Sequence[Command]) -> Awaitable[None]:
        """Hands the commands over at once, in order; what is returned is done when they are durable."""

    async def claim(self, fact: CallEvent, attempt: int, provider: str, started_at: int) -> Reply:
        """Sends StartAttempt and gives the ledger's answer; asks again until there is one."""


class Asking(Protocol):
    """Whoever asks providers; the Fleet, or a test's stand-in."""

    def ranking(self, contract: Contract) -> Ranking:
        """Which providers can be asked now."""

    async def attempt(
        self, contract: Contract, provider: Provider, request: AttemptRequest, claim: Claim | None = None
    ) -> AttemptOutcome:
        """One attempt, claimed right before the provider is asked."""


class Clock:
    """Time and chance, so that tests can bring their own."""

    def now_us(self) -> int:
        """Microseconds since the epoch, UTC."""
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    def jitter(self) -> float:
        """A number in [0, 1)."""
        return random.random()  # noqa: S311  # spreads retries, hides nothing


class OutboxBroken(Exception):
    """Commands can no longer be sent: this process is of no use, its successor takes over."""


class SettledElsewhere(Exception):
    """The call has its outcome, or its run has ended: nothing is left to do."""


class _Taken(Exception):
    """Another executor claimed the attempt before us."""


class _NotYet(Exception):
    """The core wants another attempt; stamina waits ``step.after`` and comes back."""

    def __init__(self, capability: str, step: Call, last: Tried) -> None:
        super().__init__(f"{capability}: {last.provider} {last.error_class} ({last.message}); next {step.provider}")
        self.step = step


def _wait_of(error: Exception) -> float | bool:
    """stamina's backoff hook: the core has decided how long to wait."""
    return error.step.after if isinstance(error, _NotYet) else False


class _Open:
    """A call being settled: what was tried, what it cost, what is on its way to the log."""

    def __init__(
        self, fact: CallEvent, contract: Contract, config: RecoveryConfig, params: Mapping[str, Any], ranking: Ranking
    ) -> None:
        self.fact = fact
        self.contract = contract
        self.params = params
        self.ranking = ranking
        self.policy = plan.policy_of(contract, config, fact.timeout_ms)
        self.degraded = plan.degraded_result(contract, config)
        self.providers = {provider.name: provider for provider in contract.capability.providers}
        self.tried: list[Tried] = []
        self.reports: list[Command] = []
        self.durable: list[Awaitable[None]] = []
        self.cost = 0
        self.asked = 0
        """What the cheapest attempt might have cost that the call could not pay for."""
        self.result = ""
        self.asked_at = 0.0
        """When the provider of the attempt under way was asked."""


class Settler:
    """Settles calls, one ``settle`` each; any number at a time."""

    def __init__(
        self, registry: Registry, asking: Asking, outbox: Outbox, *, executor: str, max_result_bytes: int, clock: Clock
    ) -> None:
        self.registry = registry
        self._asking = asking
        self._outbox = outbox
        self._executor = executor
        self._max_result_bytes = max_result_bytes
        self._clock = clock

    async def settle(self, fact: CallEvent, spent: int = 0) -> None:
        """Returns when the call's outcome is durable; ``spent`` is what attempts of a predecessor cost, nano-USD, which
        its budget has to bear too. Raises OutboxBroken and SettledElsewhere."""
        began = self._clock.monotonic()
        admitted = self._admit(fact)
        if isinstance(admitted, Command):
            await self._outbox.send([admitted])
            return
        admitted.cost = spent
        step = self._next(admitted, began)
        if isinstance(step, Call):
            await self._try(admitted, step, began)
            step = self._next(admitted, began)
        if isinstance(step, Call):
            step = await self._recover(admitted, step, began)
        await self._finish(admitted, step, began)

    def may_cancel(self, fact: CallEvent) -> bool:
        """Whether the call may be stopped at any moment: not when it may be in the middle of an unsafe effect."""
        try:
            return self.registry.get(fact.capability).capability.side_effects != "unsafe"
        except UnknownCapability:
            return True

    async def give_up(self, fact: CallEvent, error: Exception) -> None:
        """Fails a call that met a bug of ours, so that it is not silently dropped."""
        message = f"the executor itself failed: {type(error).__name__}: {error}"
        await self._outbox.send([reports.failed(fact, error_class="unknown", code="executor_error", message=message)])

    def _admit(self, fact: CallEvent) -> _Open | Command:
        """The call, ready to be tried; or the FailCall that says why it cannot be."""
        try:
            contract = self.registry.get(fact.capability)
        except UnknownCapability as error:
            return reports.failed(fact, error_class="invalid_request", code="unknown_capability", message=str(error))
        try:
            params, config = plan.params_of(fact, contract), plan.config_of(fact, contract)
        except plan.Unservable as error:
            return reports.failed(fact, error_class="invalid_request", code=error.why, message=error.message)
        return _Open(fact, contract, config, params, self._asking.ranking(contract))

    def _next(self, call: _Open, began: float) -> Step:
        elapsed = self._clock.monotonic() - began
        return next_step(call.policy, call.ranking.ready, call.tried, elapsed, self._clock.jitter())

    async def _recover(self, call: _Open, step: Step, began: float) -> Step:
        """The way of a call whose first attempt failed. stamina waits and counts; the core decides."""
        async for again in stamina.retry_context(on=_wait_of, attempts=None, timeout=None):
            with again:
                if again.num > 1:
                    assert isinstance(step, Call)
                    await self._try(call, step, began)
                    step = self._next(call, began)
                if isinstance(step, Call):
                    # what failed is worth seeing while the next attempt is still under way
                    call.durable.append(self._outbox.send(call.reports))
                    call.reports = []
                    raise _NotYet(call.fact.capability, step, call.tried[-1])
        return step

    async def _try(self, call: _Open, step: Call, began: float) -> None:
        """One attempt, claimed first when it is unsafe."""
        provider = call.providers[step.provider]
        started_at = self._clock.now_us()
        call.asked_at = self._clock.monotonic()
        timeout = min(provider.timeout_seconds, call.policy.deadline - (call.asked_at - began))
        refused = ceiling.refusal(provider, timeout, call.fact.budget_nano_usd, call.cost)
        if refused is not None:
            call.tried.append(refused[0])
            call.asked = min(call.asked or refused[1], refused[1])
            return
        claim = partial(self._claim, call, step, started_at) if call.policy.unsafe else None
        try:
            outcome = await self._ask(call, provider, step.attempt, timeout, claim)
        except _Taken as taken:
            call.tried.append(
                Tried(provider=provider.name, error_class="unknown", code=TAKEN, message=str(taken), uncertain=True)
            )
            return
        latency_us = round((self._clock.monotonic() - call.asked_at) * 1e6)
        call.reports.append(
            reports.attempted(
                call.fact,
                step.attempt,
                provider,
                outcome,
                executor=self._executor,
                started_at=started_at,
                latency_us=latency_us,
            )
        )
        call.cost += charge(provider.price, outcome).nano_usd
        call.tried.append(_tried(provider.name, outcome))

    async def _claim(self, call: _Open, step: Call, started_at: int) -> None:
        """Returns when the attempt is ours to make. Raises _Taken, and SettledElsewhere when the call is over."""
        reply = await self._outbox.claim(call.fact, step.attempt, step.provider, started_at)
        if reply.code == TAKEN:
            raise _Taken(f"{reply.message}, and that executor is gone: whether the effect happened is not known")
        if reply.status != "ok":
            raise SettledElsewhere(f"{reply.code}: {reply.message}")
        call.asked_at = self._clock.monotonic()

    async def _ask(
        self, call: _Open, provider: Provider, number: int, timeout: float, claim: Claim | None
    ) -> AttemptOutcome:
        if timeout <= 0:
            return Failure(error_class="transient", code="timeout", message="the call's time was over before it began")
        request = AttemptRequest(
            call_id=call.fact.call_id,
            run_id=call.fact.run_id,
            agent=call.fact.agent,
            attempt=number,
            params=call.params,
            timeout_seconds=timeout,
        )
        try:
            outcome = await self._asking.attempt(call.contract, provider, request, claim)
            return self._accept(call, outcome) if isinstance(outcome, Answer) else outcome
        except (_Taken, SettledElsewhere):
            raise
        except Exception as error:  # noqa: BLE001  # a bug in a provider's code must cost one attempt, not the call
            message = f"{type(error).__name__}: {error}"
            return Failure(error_class="unknown", code="provider_error", message=message, uncertain=True)

    def _accept(self, call: _Open, answer: Answer) -> AttemptOutcome:
        """The answer if its result keeps the contract; else the failure it is."""
        misfit = call.contract.check_result(answer.result)
        if misfit is not None:
            return _broken(answer, "invalid_result", str(misfit))
        encoded = ids.canonical(answer.result)
        size = len(encoded.encode())
        if size > self._max_result_bytes:
            return _broken(
                answer, "result_too_large", f"the result has {size} bytes, the limit is {self._max_result_bytes}"
            )
        call.result = encoded
        return answer

    async def _finish(self, call: _Open, step: Step, began: float) -> None:
        latency_us = round((self._clock.monotonic() - began) * 1e6)
        outcome = _outcome_command(call, step, latency_us)
        call.durable.append(self._outbox.send([*call.reports, outcome]))
        if len(call.durable) == 1:
            await call.durable[0]
        else:
            await asyncio.gather(*call.durable)


def _outcome_command(call: _Open, step: Step, latency_us: int) -> Command:
    attempts = sum(attempt.code not in (TAKEN, ceiling.OVER_BUDGET) for attempt in call.tried)
    if isinstance(step, Succeed):
        return reports.completed(
            call.fact, call.result, provider=step.provider, attempts=attempts, cost=call.cost, latency_us=latency_us
        )
    if isinstance(step, Degrade):
        substitute = ids.canonical(call.degraded)
        return reports.completed(
            call.fact,
            substitute,
            provider=step.because.provider,
            attempts=attempts,
            cost=call.cost,
            latency_us=latency_us,
            degraded=True,
            reason=step.because.message,
        )
    assert isinstance(step, Fail)
    skipped = call.ranking.why_skipped()
    over = call.tried[-1:] and call.tried[-1].code == ceiling.OVER_BUDGET
    return reports.failed(
        call.fact,
        error_class=step.error_class,
        code=ceiling.OVER_BUDGET if over else step.code,
        message=step.message + (f"; {skipped}" if skipped else ""),
        provider=step.provider,
        attempts=attempts,
        cost=call.cost,
        latency_us=latency_us,
        asked=call.asked if over else 0,
    )


def _tried(provider: str, outcome: AttemptOutcome) -> Tried:
    if isinstance(outcome, Answer):
        return Tried(provider=provider)
    return Tried(
        provider=provider,
        error_class=outcome.error_class,
        code=outcome.code,
        message=outcome.message,
        retry_after=outcome.retry_after,
        uncertain=outcome.uncertain,
    )


def _broken(answer: Answer, code: str, message: str) -> Failure:
    return Failure(error_class="unknown", code=code, message=message, uncertain=True, usage=answer.usage)
