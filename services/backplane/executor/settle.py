"""One call from request to outcome: asks the core what to do next, does it, reports it.

Order of work, which is guarantee G8. An unsafe attempt is claimed in the log before its provider is asked. Every
attempt is reported as it ends. The call is finished here only when its outcome is durable in the log.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

import msgspec

from agents_sdk.core import ids
from agents_sdk.core.commands import Command
from agents_sdk.core.facts import CallEvent
from backplane.executor import reports
from backplane.executor.breaker_gate import BreakerGate
from backplane.executor.cache import CacheEntry, ResultCache
from backplane.executor.open_call import (
    NO_ATTEMPTS,
    TAKEN,
    AttemptTaken,
    OpenCall,
    PriorAttempts,
    broken,
    of_error,
    of_switch,
    outcome_command,
    request_for,
    taken_by_another,
    tried_of,
    unmade,
)
from backplane.executor.ports import Clock, Outbox, ProviderGateway
from backplane.executor.reports import ClaimOf
from backplane.manifests.registry import RegisteredCapability, Registry, UnknownCapability
from backplane.providers.fleet import Claim
from backplane.recovery import ceiling, plan
from backplane.recovery.breakers import Breakers
from backplane.recovery.decide import (
    OUTCOME_UNKNOWN,
    Call,
    Fail,
    PastAttempt,
    Reconcile,
    Step,
    Succeed,
    Verdict,
    next_step,
)
from backplane.recovery.estimate import capped, usage_at_most
from backplane.recovery.outcome import Answer, AttemptOutcome, Failure, Reconciled
from backplane.recovery.plan import Target
from backplane.recovery.pricing import charge
from backplane.recovery.ranking import Ranking

EXECUTOR_DIED: Final = "executor_died"
LOST: Final = "its partition is another executor's, which goes on with it"
OVER: Final = "the call's time was over before it began"
LOCAL_SLACK_S: Final = 5.0
"""For the outcome of a call that its caller makes itself; to make it twice would do no harm, but cost."""


class OutboxBroken(Exception):
    """Commands can no longer be sent: this process is of no use, its successor takes over."""


class SettledElsewhere(Exception):
    """The call has its outcome, or its run has ended: nothing is left to do."""


class Settler:
    """Settles calls, one ``settle`` each; any number at a time."""

    def __init__(
        self,
        registry: Registry,
        asking: ProviderGateway,
        outbox: Outbox,
        *,
        executor: str,
        max_result_bytes: int,
        clock: Clock,
        breakers: Breakers | None = None,
        cache: ResultCache | None = None,
    ) -> None:
        self.registry = registry
        self._asking = asking
        self._outbox = outbox
        self._executor = executor
        self._max_result_bytes = max_result_bytes
        self._clock = clock
        self._cache = cache
        self._guard = BreakerGate(breakers or Breakers(), outbox, executor, clock)

    async def settle(
        self,
        fact: CallEvent,
        past: PriorAttempts = NO_ATTEMPTS,
        *,
        assignment: int = 1,
        reported_before: bool = False,
        ours: Callable[[], bool] = lambda: True,
    ) -> None:
        """Returns when the call's outcome is durable; its budget has to bear what was spent in its ``past`` too.
        ``assignment`` counts those of partitions to this executor. ``reported_before``: an earlier incarnation or a
        predecessor may have sent an outcome; its decision is waited for first. ``ours``: whether the call's partition
        is still ours; no attempt begins after it was lost. Raises OutboxBroken and SettledElsewhere."""
        admitted = self._admit(fact)
        if isinstance(admitted, Command):
            await self._outbox.send([admitted])
            return
        admitted.cost, admitted.earlier = past.spent_nano_usd, past.attempts
        admitted.assignment, admitted.ours = assignment, ours
        if reported_before and not await self._still_open(admitted):
            raise SettledElsewhere("its outcome was sent before, and was decided")
        key = self._cache.key(admitted) if self._cache is not None else None
        if key is not None and await self._from_cache(admitted, key):
            return
        step = self._next(admitted)
        while isinstance(step, Call | Reconcile):
            if isinstance(step, Reconcile):
                await self._reconcile(admitted, step)
            else:
                await self._wait(admitted, step)
                await self._try(admitted, step)
            step = self._next(admitted)
        if key is not None and isinstance(step, Succeed):
            self._keep(admitted, step, key)
        await self._finish(admitted, step)

    async def _from_cache(self, call: OpenCall, key: str) -> bool:
        """Whether an equal call a short while ago has settled this one: nothing is asked, nothing is paid."""
        assert self._cache is not None
        hit = self._cache.get(key, self._clock.monotonic())
        if hit is None:
            return False
        latency_us = round((self._clock.monotonic() - call.began) * 1e6)
        outcome = reports.completed(
            call.fact, hit.result, provider=hit.provider, attempts=0, cost=0, latency_us=latency_us, cached=True,
            manifest_version=call.contract.version,
        )  # fmt: skip
        await self._outbox.send([outcome])
        return True

    def _keep(self, call: OpenCall, step: Succeed, key: str) -> None:
        """A result of a provider of the capability itself may be given again."""
        target = call.targets[step.route]
        rule = call.contract.capability.cache
        if self._cache is None or rule is None or target.contract is not call.contract or call.lost:
            return
        now = self._clock.monotonic()
        self._cache.put(key, CacheEntry(call.result, target.route.provider), now, rule.ttl_seconds)

    def holds(self, fact: CallEvent) -> bool:
        """Whether the call has to wait: its capability is paused with that policy, or its caller makes it itself."""
        if fact.local:
            return True
        switch = self.registry.switch(fact.capability)
        return switch.state == "paused" and switch.policy != "fail"

    def patience(self, fact: CallEvent) -> float:
        """Seconds that the call may wait: as long as it may take. Where its caller makes it itself it is a while
        longer: a call that is not settled then was left."""
        more = LOCAL_SLACK_S if fact.local else 0.0
        try:
            own = self.registry.get(fact.capability).capability.timeout_seconds
        except UnknownCapability:
            return more
        return (fact.timeout_ms / 1000 if fact.timeout_ms else own) + more

    def may_cancel(self, fact: CallEvent) -> bool:
        """Whether the call may be stopped at any moment: not when it may be in the middle of an unsafe effect."""
        try:
            return self.registry.get(fact.capability).capability.side_effects != "unsafe"
        except UnknownCapability:
            return True

    async def give_up(self, fact: CallEvent, error: Exception) -> None:
        """Fails a call that met a bug of ours, so that it is not silently dropped; it can be redriven when it is
        mended."""
        await self._outbox.send([unmade(fact, of_error(error))])

    async def put_aside(self, fact: CallEvent, why: str) -> None:
        """Fails a call that ends executors. Whether an unsafe one had its effect before, nobody here knows."""
        message = f"{why}; it is not made again"
        code = EXECUTOR_DIED if self.may_cancel(fact) else OUTCOME_UNKNOWN
        await self._outbox.send([unmade(fact, Fail("unknown", code, message))])

    def _admit(self, fact: CallEvent) -> OpenCall | Command:
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
        if switch.state != "enabled":
            return unmade(fact, of_switch(fact.capability, switch))

        def ranked(each: RegisteredCapability) -> Ranking:
            return self._asking.ranking(each, config.rank or each.capability.rank)

        targets = plan.targets_of(contract, params, config, ranked, self.registry)
        return OpenCall(fact, contract, config, targets, began)

    def _next(self, call: OpenCall) -> Step:
        elapsed = self._clock.monotonic() - call.began
        call.stood = self._guard.routes(call)
        step = next_step(call.policy, call.stood, call.tried, elapsed, self._clock.jitter())
        return replace(step, attempt=step.attempt + call.earlier) if isinstance(step, Call) else step

    async def _wait(self, call: OpenCall, step: Call) -> None:
        """A failure is worth seeing while the next attempt is still under way; then the core's time passes."""
        if call.reports:
            call.durable.append(self._outbox.send(call.reports))
            call.reports = []
        if step.after:
            await asyncio.sleep(step.after)

    async def _try(self, call: OpenCall, step: Call) -> None:
        """One attempt, claimed first when it is unsafe."""
        target = call.targets[step.route]
        provider = target.provider
        assert provider is not None
        started_at = self._clock.now_us()
        call.asked_at = self._clock.monotonic()
        timeout = min(provider.timeout_seconds, call.policy.deadline - (call.asked_at - call.began))
        refused = ceiling.refusal(provider, timeout, call.fact.budget_nano_usd, call.cost, target.params)
        if refused is not None:
            why, most = refused
            over = PastAttempt(route=step.route, error_class="quota", code=ceiling.OVER_BUDGET, message=why, own=True)
            call.tried.append(over)
            call.asked = min(call.asked or most, most)
            return
        lease = timeout + provider.settle_seconds
        claim = partial(self._claim, call, step, started_at, lease) if target.route.unsafe else None
        probe = await self._guard.probe(call, step)
        if probe is None:
            return
        try:
            outcome = await self._ask(call, target, step.attempt, timeout, claim)
        except AttemptTaken as taken:
            self._taken(call, step, taken)
            return
        call.settled_at = self._clock.monotonic() + provider.settle_seconds
        self._record(call, step.route, step.attempt, outcome, started_at)
        self._guard.note(call, step, outcome, probe)
        seconds = self._clock.monotonic() - call.asked_at
        call.tried.append(tried_of(step.route, outcome, seconds))
        self._asking.observe(target.contract, provider, outcome, seconds)

    def _taken(self, call: OpenCall, step: Call, taken: AttemptTaken) -> None:
        """The attempt is another executor's, perhaps at another provider: that one has to say what became of it."""
        named = (index for index, route in enumerate(call.routes) if str(route) == taken.asked)
        index = next(named, step.route)
        provider = call.targets[index].provider
        verdict: Verdict = ""
        if provider is None or (taken.asked and str(call.routes[index]) != taken.asked):
            verdict = "unknown"  # a provider that is declared no more
        call.tried.append(taken_by_another(index, str(taken), verdict))
        if provider is not None:
            left = taken.lease_seconds
            if left is None:
                left = taken.started_at + provider.timeout_seconds + provider.settle_seconds
                left -= self._clock.now_us() / 1e6
            call.settled_at = self._clock.monotonic() + left

    def _record(self, call: OpenCall, route: int, attempt: int, outcome: AttemptOutcome, started_at: int) -> None:
        """The attempt is to be reported, and paid."""
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
                claim=(call.assignment, call.token) if call.token else (0, 0),
            )
        )
        call.cost += charge(target.provider.price, outcome).nano_usd

    async def _claim(self, call: OpenCall, step: Call, started_at: int, lease_seconds: float) -> None:
        """Returns when the attempt is ours to make. Raises AttemptTaken, and SettledElsewhere when the call is not."""
        if not call.ours():
            raise SettledElsewhere(LOST)
        call.claims += 1
        said = ClaimOf(call.claims, call.assignment, started_at, math.ceil(lease_seconds * 1000))
        reply = await self._outbox.claim(call.fact, said, call.targets[step.route].route)
        fields = msgspec.json.decode(reply.detail) if reply.detail else {}
        ours = (fields.get("executor"), fields.get("assignment")) == (self._executor, call.assignment)
        if reply.code == TAKEN and not ours:
            lease_us = fields.get("lease_us")
            raise AttemptTaken(
                f"{reply.message}, and that executor is gone",
                fields.get("started_at", 0) / 1e6,
                fields.get("asked", ""),
                None if lease_us is None else lease_us / 1e6,
            )
        if reply.status != "ok" and reply.code != TAKEN:
            raise SettledElsewhere(f"{reply.code}: {reply.message}")
        # Taken by ourselves: the grant was lost, and the ledger has forgotten it. Claims are numbered as they are
        # granted, so the number is the token.
        call.token = call.claims if reply.code == TAKEN else fields.get("fencing_token", 0)
        call.asked_at = self._clock.monotonic()

    async def _still_open(self, call: OpenCall) -> bool:
        """Whether the call has no outcome, though an executor of before may have sent one. The claim lies after it in
        the log, so its answer decides both. Claims of unsafe attempts are made anyhow, and answer this as well."""
        target = next((each for each in call.targets if each.provider is not None), None)
        if target is None or target.route.unsafe:
            return True
        call.claims += 1
        said = ClaimOf(call.claims, call.assignment, self._clock.now_us(), 0)
        reply = await self._outbox.claim(call.fact, said, target.route)
        return reply.status == "ok" or reply.code == TAKEN

    async def _ask(
        self, call: OpenCall, target: Target, number: int, timeout: float, claim: Claim | None
    ) -> AttemptOutcome:
        if timeout <= 0:
            over = "the call's time was over before it began"
            return Failure(error_class="transient", code="timeout", message=over, own=True)
        assert target.provider is not None
        try:
            request = request_for(call, target, number, timeout)
            outcome = await self._asking.attempt(target.contract, target.provider, request, claim)
            if target.provider.price is not None and target.provider.price.usage_at_most:
                outcome = capped(outcome, usage_at_most(target.provider, target.params))
            return self._accept(call, target, outcome) if isinstance(outcome, Answer) else outcome
        except (AttemptTaken, SettledElsewhere):
            raise
        except Exception as error:  # noqa: BLE001  # a bug in a provider's code must cost one attempt, not the call
            message = f"{type(error).__name__}: {error}"
            return Failure(error_class="unknown", code="provider_error", message=message, uncertain=True)

    async def _reconcile(self, call: OpenCall, step: Reconcile) -> None:
        """Asks the provider what became of the last attempt, once nobody can be in the middle of it any more."""
        target = call.targets[step.route]
        provider, last = target.provider, call.tried[-1]
        assert provider is not None
        await asyncio.sleep(max(0.0, call.settled_at - self._clock.monotonic()))
        request = request_for(call, target, step.attempt, provider.timeout_seconds)
        try:
            found = await self._asking.reconcile(target.contract, provider, request)
        except Exception as error:  # noqa: BLE001  # as in _ask
            found = Reconciled("unknown", message=f"{type(error).__name__}: {error}")
        message = f"{last.message}; asked, the provider says: {found.verdict}"
        message += f" ({found.message})" if found.message else ""
        call.tried[-1] = replace(last, verdict=found.verdict, message=message, own=last.own and not found.message)
        if found.verdict != "happened":
            return
        outcome = self._accept(call, target, found.answer)
        if isinstance(outcome, Failure):
            # the effect is there, and to be paid; only what it gave is lost
            call.lost = outcome.message
        if last.code == TAKEN:
            self._record(call, step.route, step.attempt, found.answer, self._clock.now_us())

    def _accept(self, call: OpenCall, target: Target, answer: Answer) -> AttemptOutcome:
        """The answer if its result keeps the contract; else the failure it is."""
        own, misfit = plan.mapped_result(target, answer.result, call.contract)
        if misfit is not None:
            return broken(answer, "invalid_result", str(misfit))
        encoded = ids.canonical(own)
        size = len(encoded.encode())
        if size > self._max_result_bytes:
            return broken(
                answer, "result_too_large", f"the result has {size} bytes, the limit is {self._max_result_bytes}"
            )
        call.result = encoded
        return answer

    async def _finish(self, call: OpenCall, step: Step) -> None:
        if not call.ours() and not call.token:  # the new owner knows as much, and may have said an end
            if call.reports:
                await self._outbox.send(call.reports)
            raise SettledElsewhere(LOST)
        latency_us = round((self._clock.monotonic() - call.began) * 1e6)
        outcome = outcome_command(call, step, latency_us)
        call.durable.append(self._outbox.send(reports.together(call.reports, outcome)))
        if len(call.durable) == 1:
            await call.durable[0]
        else:
            await asyncio.gather(*call.durable)
