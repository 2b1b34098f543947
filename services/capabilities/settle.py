"""One call from request to outcome: asks the core what to do next, does it, reports it.

Order of work, which is guarantee G8: an unsafe attempt is claimed in the log before its provider is asked; every
attempt is reported as it ends; the call is finished here only when its outcome is durable in the log.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final, Protocol

import msgspec

from agents_sdk.core import ids
from agents_sdk.core.commands import Command
from agents_sdk.core.facts import CallEvent, Reply
from agents_sdk.recovery import Rank, RecoveryConfig
from services.capabilities import ceiling, plan, reports, story
from services.capabilities.decide import Call, Degrade, Fail, Reconcile, Route, Step, Succeed, Tried, next_step
from services.capabilities.model import Provider
from services.capabilities.outcome import Answer, AttemptOutcome, AttemptRequest, Failure, Reconciled
from services.capabilities.plan import Target
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

    def ranking(self, contract: Contract, rank: Rank) -> Ranking:
        """Which providers can be asked now, in which order."""

    def observe(self, contract: Contract, provider: Provider, outcome: AttemptOutcome, seconds: float) -> None:
        """An attempt has ended, its result checked: what later rankings rest on."""

    async def attempt(
        self, contract: Contract, provider: Provider, request: AttemptRequest, claim: Claim | None = None
    ) -> AttemptOutcome:
        """One attempt, claimed right before the provider is asked."""

    async def reconcile(self, contract: Contract, provider: Provider, request: AttemptRequest) -> Reconciled:
        """What the provider says about an attempt that was made before."""


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

    def __init__(self, message: str, started_at: float) -> None:
        super().__init__(message)
        self.started_at = started_at
        """When it did, seconds since the epoch by its own clock."""


class _Open:
    """A call being settled: what was tried, what it cost, what is on its way to the log."""

    def __init__(
        self, fact: CallEvent, contract: Contract, config: RecoveryConfig, targets: Sequence[Target], began: float
    ) -> None:
        self.fact = fact
        self.contract = contract
        self.targets = targets
        self.began = began
        self.policy = plan.policy_of(contract, config, fact.timeout_ms)
        self.degraded = plan.degraded_result(contract, config)
        self.tried: list[Tried] = []
        self.reports: list[Command] = []
        self.durable: list[Awaitable[None]] = []
        self.cost = 0
        self.asked = 0
        """What the cheapest attempt might have cost that the call could not pay for."""
        self.result = ""
        self.lost = ""
        """Why a result of an effect that happened is not known."""
        self.asked_at = 0.0
        """When the provider of the attempt under way was asked."""
        self.settled_at = 0.0
        """From when on nobody can be in the middle of the last attempt; by ``Clock.now_us``, in seconds."""

    @property
    def routes(self) -> list[Route]:
        return [target.route for target in self.targets]


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
        admitted = self._admit(fact)
        if isinstance(admitted, Command):
            await self._outbox.send([admitted])
            return
        admitted.cost = spent
        step = self._next(admitted)
        while isinstance(step, Call | Reconcile):
            if isinstance(step, Reconcile):
                await self._reconcile(admitted, step)
            else:
                await self._wait(admitted, step)
                await self._try(admitted, step)
            step = self._next(admitted)
        await self._finish(admitted, step)

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
        began = self._clock.monotonic()
        try:
            contract = self.registry.get(fact.capability)
            params, config = plan.params_of(fact, contract), plan.config_of(fact, contract)
        except UnknownCapability as error:
            return reports.failed(fact, error_class="invalid_request", code="unknown_capability", message=str(error))
        except plan.Unservable as error:
            return reports.failed(fact, error_class="invalid_request", code=error.why, message=error.message)
        switch = self.registry.switch(fact.capability)
        if switch.state == "disabled":
            why = f"{fact.capability!r} is disabled" + (f": {switch.reason}" if switch.reason else "")
            return reports.failed(fact, error_class="outage", code="disabled", message=why)

        def ranked(each: Contract) -> Ranking:
            return self._asking.ranking(each, config.rank or each.capability.rank)

        targets = plan.targets_of(contract, params, config, ranked, self.registry)
        return _Open(fact, contract, config, targets, began)

    def _next(self, call: _Open) -> Step:
        elapsed = self._clock.monotonic() - call.began
        return next_step(call.policy, call.routes, call.tried, elapsed, self._clock.jitter())

    async def _wait(self, call: _Open, step: Call) -> None:
        """What failed is worth seeing while the next attempt is still under way; then the core's time passes."""
        if call.reports:
            call.durable.append(self._outbox.send(call.reports))
            call.reports = []
        if step.after:
            await asyncio.sleep(step.after)

    async def _try(self, call: _Open, step: Call) -> None:
        """One attempt, claimed first when it is unsafe."""
        target = call.targets[step.route]
        provider = target.provider
        assert provider is not None
        started_at = self._clock.now_us()
        call.asked_at = self._clock.monotonic()
        timeout = min(provider.timeout_seconds, call.policy.deadline - (call.asked_at - call.began))
        refused = ceiling.refusal(provider, timeout, call.fact.budget_nano_usd, call.cost)
        if refused is not None:
            told, most = refused
            call.tried.append(Tried(route=step.route, error_class="quota", code=ceiling.OVER_BUDGET, message=told))
            call.asked = min(call.asked or most, most)
            return
        claim = partial(self._claim, call, step, started_at) if target.route.unsafe else None
        try:
            outcome = await self._ask(call, target, step.attempt, timeout, claim)
        except _Taken as taken:
            tried = Tried(route=step.route, error_class="unknown", code=TAKEN, message=str(taken), uncertain=True)
            call.tried.append(tried)
            call.settled_at = taken.started_at + provider.timeout_seconds
            return
        self._record(call, step.route, step.attempt, outcome, started_at)
        seconds = self._clock.monotonic() - call.asked_at
        call.tried.append(_tried(step.route, outcome, seconds))
        self._asking.observe(target.contract, provider, outcome, seconds)

    def _record(self, call: _Open, route: int, attempt: int, outcome: AttemptOutcome, started_at: int) -> None:
        """The attempt is to be told, and paid."""
        target = call.targets[route]
        assert target.provider is not None
        call.reports.append(
            reports.attempted(
                call.fact,
                attempt,
                target.route.capability,
                target.provider,
                outcome,
                executor=self._executor,
                started_at=started_at,
                latency_us=round((self._clock.monotonic() - call.asked_at) * 1e6),
                manifest_version=target.contract.version,
            )
        )
        call.cost += charge(target.provider.price, outcome).nano_usd

    async def _claim(self, call: _Open, step: Call, started_at: int) -> None:
        """Returns when the attempt is ours to make. Raises _Taken, and SettledElsewhere when the call is over."""
        provider = call.targets[step.route].route.provider
        reply = await self._outbox.claim(call.fact, step.attempt, provider, started_at)
        if reply.code == TAKEN:
            fields = msgspec.json.decode(reply.detail) if reply.detail else {}
            raise _Taken(f"{reply.message}, and that executor is gone", fields.get("started_at", 0) / 1e6)
        if reply.status != "ok":
            raise SettledElsewhere(f"{reply.code}: {reply.message}")
        call.asked_at = self._clock.monotonic()

    async def _ask(
        self, call: _Open, target: Target, number: int, timeout: float, claim: Claim | None
    ) -> AttemptOutcome:
        if timeout <= 0:
            return Failure(error_class="transient", code="timeout", message="the call's time was over before it began")
        assert target.provider is not None
        try:
            request = _request(call, target, number, timeout)
            outcome = await self._asking.attempt(target.contract, target.provider, request, claim)
            return self._accept(call, target, outcome) if isinstance(outcome, Answer) else outcome
        except (_Taken, SettledElsewhere):
            raise
        except Exception as error:  # noqa: BLE001  # a bug in a provider's code must cost one attempt, not the call
            message = f"{type(error).__name__}: {error}"
            return Failure(error_class="unknown", code="provider_error", message=message, uncertain=True)

    async def _reconcile(self, call: _Open, step: Reconcile) -> None:
        """Asks the provider what became of the last attempt, once nobody can be in the middle of it any more."""
        target = call.targets[step.route]
        provider, last = target.provider, call.tried[-1]
        assert provider is not None
        await asyncio.sleep(max(0.0, call.settled_at - self._clock.now_us() / 1e6))
        request = _request(call, target, step.attempt, provider.timeout_seconds)
        try:
            found = await self._asking.reconcile(target.contract, provider, request)
        except Exception as error:  # noqa: BLE001  # as in _ask
            found = Reconciled("unknown", message=f"{type(error).__name__}: {error}")
        message = f"{last.message}; asked, the provider says: {found.verdict}"
        message += f" ({found.message})" if found.message else ""
        call.tried[-1] = replace(last, verdict=found.verdict, message=message)
        if found.verdict != "happened":
            return
        outcome = self._accept(call, target, found.answer)
        if isinstance(outcome, Failure):
            # the effect is there, and to be paid; only what it gave is lost
            call.lost = f"the effect happened, but not what it gave is known: {outcome.message}"
        if last.code == TAKEN:
            self._record(call, step.route, step.attempt, found.answer, self._clock.now_us())

    def _accept(self, call: _Open, target: Target, answer: Answer) -> AttemptOutcome:
        """The answer if its result keeps the contract; else the failure it is."""
        own, misfit = plan.mapped_result(target, answer.result, call.contract)
        if misfit is not None:
            return _broken(answer, "invalid_result", str(misfit))
        encoded = ids.canonical(own)
        size = len(encoded.encode())
        if size > self._max_result_bytes:
            return _broken(
                answer, "result_too_large", f"the result has {size} bytes, the limit is {self._max_result_bytes}"
            )
        call.result = encoded
        return answer

    async def _finish(self, call: _Open, step: Step) -> None:
        latency_us = round((self._clock.monotonic() - call.began) * 1e6)
        outcome = _outcome_command(call, step, latency_us)
        call.durable.append(self._outbox.send([*call.reports, outcome]))
        if len(call.durable) == 1:
            await call.durable[0]
        else:
            await asyncio.gather(*call.durable)


def _request(call: _Open, target: Target, number: int, timeout: float) -> AttemptRequest:
    return AttemptRequest(
        call_id=call.fact.call_id,
        run_id=call.fact.run_id,
        agent=call.fact.agent,
        attempt=number,
        params=target.params,
        timeout_seconds=timeout,
    )


def _outcome_command(call: _Open, step: Step, latency_us: int) -> Command:
    spent: dict[str, Any] = {
        "attempts": sum(attempt.code not in (TAKEN, ceiling.OVER_BUDGET) for attempt in call.tried),
        "cost": call.cost,
        "latency_us": latency_us,
        "manifest_version": call.contract.version,
    }
    if isinstance(step, Succeed):
        if call.lost:
            step = Fail("unknown", "result_lost", call.lost, step.route)
        else:
            # a reconciled or a rerouted call is worth its story, one that just went well is not
            told = _report(call, None) if len(call.tried) > 1 or call.tried[-1].verdict else ""
            provider = call.routes[step.route].provider
            return reports.completed(call.fact, call.result, provider=provider, report=told, **spent)
    failure = step.because if isinstance(step, Degrade) else step
    assert isinstance(failure, Fail)
    over = call.tried[-1:] and call.tried[-1].code == ceiling.OVER_BUDGET
    if over:
        failure = replace(failure, code=ceiling.OVER_BUDGET)
    spent |= {
        "error_class": failure.error_class,
        "code": failure.code,
        "message": failure.message,
        "provider": "" if failure.route is None else call.routes[failure.route].provider,
        "report": _report(call, failure),
    }
    if isinstance(step, Degrade):
        return reports.completed(call.fact, ids.canonical(call.degraded), degraded=True, **spent)
    return reports.failed(call.fact, asked=call.asked if over else 0, **spent)


def _report(call: _Open, failure: Fail | None) -> str:
    fact = call.fact
    return ids.canonical(story.report(fact.call_id, fact.capability, call.routes, call.tried, failure))


def _tried(route: int, outcome: AttemptOutcome, seconds: float) -> Tried:
    if isinstance(outcome, Answer):
        return Tried(route=route, latency_ms=seconds * 1000)
    return Tried(
        route=route,
        error_class=outcome.error_class,
        code=outcome.code,
        message=outcome.message,
        retry_after=outcome.retry_after,
        uncertain=outcome.uncertain,
        latency_ms=seconds * 1000,
    )


def _broken(answer: Answer, code: str, message: str) -> Failure:
    return Failure(error_class="unknown", code=code, message=message, uncertain=True, usage=answer.usage)
