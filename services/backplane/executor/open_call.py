"""A call being settled, as values: where it stands, what it asks providers, how it ends. No I/O."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from agents_sdk.core import ids
from agents_sdk.core.commands import Command
from agents_sdk.core.facts import AttemptEvent, CallEvent
from agents_sdk.core.identity import EXECUTOR
from agents_sdk.core.registry import Switch
from agents_sdk.recovery import RecoveryConfig
from backplane.executor import reports
from backplane.manifests.registry import RegisteredCapability
from backplane.recovery import ceiling, plan, story
from backplane.recovery.decide import Degrade, Fail, PastAttempt, Route, Step, Succeed, Verdict
from backplane.recovery.outcome import Answer, AttemptOutcome, AttemptRequest, Failure
from backplane.recovery.plan import Target

PAUSED: Final = "capability_paused"
TAKEN: Final = "attempt_taken"
"""The ledger's refusal of a claim, see agents_sdk.errors.AttemptTaken."""


class PriorAttempts(NamedTuple):
    """The attempts at a call that others made, as far as they are on record."""

    spent_nano_usd: int = 0
    attempts: int = 0
    """The number of the last one."""

    def and_then(self, attempt: AttemptEvent) -> PriorAttempts:
        """With one more."""
        return PriorAttempts(self.spent_nano_usd + attempt.cost_nano_usd, max(self.attempts, attempt.attempt))


NO_ATTEMPTS: Final = PriorAttempts()


class OpenCall:
    """A call being settled: what was tried, what it cost, what is on its way to the log."""

    def __init__(
        self,
        fact: CallEvent,
        contract: RegisteredCapability,
        config: RecoveryConfig,
        targets: Sequence[Target],
        began: float,
    ) -> None:
        self.fact, self.contract, self.targets, self.began = fact, contract, targets, began
        self.policy = plan.policy_of(contract, config, fact.timeout_ms)
        self.degraded = plan.degraded_result(contract, config)
        self.tried: list[PastAttempt] = []
        self.reports: list[Command] = []
        self.durable: list[Awaitable[None]] = []
        self.cost = 0
        self.earlier = 0
        """Number of the last attempt that predecessors recorded: an attempt is known, and paid for, by its number."""
        self.asked = 0
        """The possible cost of the cheapest attempt that the call could not pay for."""
        self.result = ""
        self.lost = ""
        """Why a result of an effect that happened is not known."""
        self.asked_at = 0.0
        """When the provider of the attempt under way was asked."""
        self.stood = self.routes
        """The routes as they stood at the last decision, closed ones with their reason."""
        self.claims = 0
        """Claims made. They have numbers apart from attempts. So a successor meets every claim of its predecessor,
        whatever else was tried before them."""
        self.assignment = 0
        """Of partitions to this executor: with its name, the incarnation that settles the call."""
        self.ours: Callable[[], bool] = lambda: True
        """Whether its partition is still this executor's."""
        self.token = 0
        """Fencing token of our newest claim; 0: none was granted."""
        self.shut: dict[int, str] = {}
        """Routes whose breaker somebody else probes."""
        self.settled_at = 0.0
        """From when on nobody can be in the middle of the last attempt, here or at its provider; by the clock that
        nobody sets, seconds."""

    @property
    def routes(self) -> list[Route]:
        return [target.route for target in self.targets]


class AttemptTaken(Exception):
    """Another executor claimed the attempt before us."""

    def __init__(self, message: str, started_at: float, asked: str, lease_seconds: float | None) -> None:
        super().__init__(message)
        self.started_at = started_at
        """When it did, seconds since the epoch by its own clock."""
        self.lease_seconds = lease_seconds
        """How long its effect may still happen; None: an executor of before, which does not say."""
        self.asked = asked
        """The route it was about to ask, as text."""


def request_for(call: OpenCall, target: Target, number: int, timeout: float) -> AttemptRequest:
    """The request for the target's provider."""
    return AttemptRequest(
        call_id=call.fact.call_id,
        run_id=call.fact.run_id,
        agent=call.fact.agent,
        attempt=number,
        params=target.params,
        timeout_seconds=timeout,
    )


def outcome_command(call: OpenCall, step: Step, latency_us: int) -> Command:
    """The command that ends the call as the step says."""
    spent: dict[str, Any] = {
        "attempts": sum(attempt.code not in (TAKEN, ceiling.OVER_BUDGET) for attempt in call.tried),
        "cost": call.cost,
        "latency_us": latency_us,
        "manifest_version": call.contract.version,
        "token": call.token,
    }
    if isinstance(step, Succeed):
        if call.lost:
            message, speaker = "the effect happened, but not what it gave is known", call.routes[step.route].provider
            step = Fail("unknown", "result_lost", message, step.route, call.lost, f"provider {speaker}")
        else:
            # a reconciled or a rerouted call is worth its story, one that just went well is not
            report = _report(call, None) if len(call.tried) > 1 or call.tried[-1].verdict else ""
            provider = call.routes[step.route].provider
            return reports.completed(call.fact, call.result, provider=provider, report=report, **spent)
    failure = step.because if isinstance(step, Degrade) else step
    assert isinstance(failure, Fail)
    over = call.tried[-1:] and call.tried[-1].code == ceiling.OVER_BUDGET
    if over:
        failure = replace(failure, code=ceiling.OVER_BUDGET)
    spent |= {
        "error_class": failure.error_class,
        "code": failure.code,
        "message": failure.message,
        "said": failure.said,
        "said_by": failure.said_by,
        "provider": "" if failure.route is None else call.routes[failure.route].provider,
        "report": _report(call, failure),
    }
    if isinstance(step, Degrade):
        return reports.completed(call.fact, ids.canonical(call.degraded), degraded=True, **spent)
    return reports.failed(call.fact, asked=call.asked if over else 0, **spent)


def unmade(fact: CallEvent, failure: Fail) -> Command:
    """The command that ends a call without a reportable attempt, with its story."""
    encoded = ids.canonical(story.report(fact.call_id, fact.capability, [], [], failure))
    return reports.failed(
        fact,
        error_class=failure.error_class,
        code=failure.code,
        message=failure.message,
        said=failure.said,
        said_by=failure.said_by,
        report=encoded,
    )


def of_error(error: Exception) -> Fail:
    """The failure of a call that met a bug of ours."""
    said = f"{type(error).__name__}: {error}"
    return Fail("unknown", "executor_error", "the executor itself failed", said=said, said_by=EXECUTOR)


def of_switch(capability: str, switch: Switch) -> Fail:
    """The failure of a call whose capability is paused or disabled."""
    said_by = f"operator {switch.set_by}".rstrip() if switch.reason else ""
    code = "disabled" if switch.state == "disabled" else PAUSED
    return Fail("outage", code, f"{capability!r} is {switch.state}", said=switch.reason, said_by=said_by)


def taken_by_another(route: int, message: str, verdict: Verdict) -> PastAttempt:
    """The attempt that another executor has claimed."""
    return PastAttempt(
        route=route, error_class="unknown", code=TAKEN, message=message, own=True, uncertain=True, verdict=verdict
    )


def _report(call: OpenCall, failure: Fail | None) -> str:
    fact = call.fact
    return ids.canonical(story.report(fact.call_id, fact.capability, call.stood, call.tried, failure))


def tried_of(route: int, outcome: AttemptOutcome, seconds: float) -> PastAttempt:
    """The attempt as the core sees it."""
    if isinstance(outcome, Answer):
        return PastAttempt(route=route, latency_ms=seconds * 1000)
    return PastAttempt(
        route=route,
        error_class=outcome.error_class,
        code=outcome.code,
        message=outcome.message,
        own=outcome.own,
        retry_after=outcome.retry_after,
        uncertain=outcome.uncertain,
        latency_ms=seconds * 1000,
    )


def broken(answer: Answer, code: str, message: str) -> Failure:
    """The failure that an answer is which cannot be used."""
    return Failure(error_class="unknown", code=code, message=message, uncertain=True, usage=answer.usage)
