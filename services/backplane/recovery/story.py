"""The report of a call that did not go well: every attempt, every alternative, and what to do next. Pure.

It goes along in the call's outcome. So every reader of a failure (the caller, its supervisor, an operator with SQL) has
all of it: nothing fails without a story.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from agents_sdk.core.ids import CallId
from backplane.recovery.ceiling import OVER_BUDGET
from backplane.recovery.decide import OUTCOME_UNKNOWN, Fail, PastAttempt, Route

ATTEMPTS_LIMIT: Final = 50
"""Attempts listed one by one, the last ones: a report must fit into the reply that carries it."""
TEXT_LIMIT: Final = 300
"""Characters of one attempt's message."""

ACTION_OF_CODE: Final = {
    OUTCOME_UNKNOWN: "look at {provider} whether call {call_id} had its effect, then repeat it or not; a `reconcile` in"
    " the manifest lets the executor ask itself",
    "no_provider": "make an alternative ready, as its reason says, then `backplane dlq redrive --cause {cause}`",
    OVER_BUDGET: "give the call a larger budget, or a provider whose price has a ceiling within it",
    "deadline_exceeded": "allow more time (timeout_seconds) or fewer attempts (retry.max_attempts)",
    "capability_paused": "`backplane capabilities resume {capability}`, then `backplane dlq redrive --cause {cause}`",
    "executor_error": "it is a bug of the executor: mend it, then `backplane dlq redrive --cause {cause}`",
    "executor_died": "disable or mend the provider that ends executors, then `backplane dlq redrive --cause {cause}`",
    "disabled": "`backplane capabilities enable {capability}`, then `backplane dlq redrive --cause {cause}`",
    "result_lost": "the effect happened and must not be repeated; let the manifest's `reconcile` give the result too",
}
ACTION_OF_CLASS: Final = {
    "auth": "renew the secret of {provider}, then `backplane dlq redrive --cause {cause}`",
    "quota": "raise the quota at {provider} or declare another provider, then `backplane dlq redrive --cause {cause}`",
    "rate_limited": "lower the rate of {provider} in its manifest or declare another provider, then `backplane dlq"
    " redrive --cause {cause}`",
    "outage": "see `backplane capabilities health`; when {provider} is back, `backplane dlq redrive --cause {cause}`",
    "transient": "it may pass: `backplane dlq redrive --cause {cause}`",
    "content_refused": "change what is asked for: {provider} refuses this content",
    "invalid_request": "mend the params, or the request template of {provider}",
    "unknown": "read the attempts' messages; an error rule in the manifest of {provider} can give this failure a class",
}


def cause_of(failure: Fail) -> str:
    """By this a dead letter of the call is grouped."""
    return OUTCOME_UNKNOWN if failure.code == OUTCOME_UNKNOWN else failure.error_class


def report(
    call_id: CallId, capability: str, routes: Sequence[Route], tried: Sequence[PastAttempt], failure: Fail | None
) -> dict[str, Any]:
    """The story as JSON: ``attempts`` (the last 50) and ``alternatives`` (every route: how often it was asked, and why
    not where it was not). For a failure it has its ``cause`` and the recommended ``action``."""
    first = max(len(tried) - ATTEMPTS_LIMIT, 0)
    entry: dict[str, Any] = {
        "attempts": [
            _attempt(number + 1, routes, tried[number])
            for number in range(first, len(tried))
            if tried[number].code != OVER_BUDGET
        ],
        "alternatives": [_alternative(index, route, tried, failure) for index, route in enumerate(routes)],
    }
    if failure is not None:
        provider = "the provider" if failure.route is None else routes[failure.route].provider
        cause = cause_of(failure)
        action = ACTION_OF_CODE.get(failure.code) or ACTION_OF_CLASS[failure.error_class]
        entry["cause"] = cause
        entry["action"] = action.format(provider=provider, call_id=call_id, capability=capability, cause=cause)
    return entry


def _attempt(number: int, routes: Sequence[Route], attempt: PastAttempt) -> dict[str, Any]:
    route = routes[attempt.route]
    entry = {
        "attempt": number,
        "capability": route.capability,
        "provider": route.provider,
        "error_class": attempt.error_class or "",
        "code": attempt.code,
        "message": attempt.message[:TEXT_LIMIT],
        "latency_ms": round(attempt.latency_ms, 1),
    }
    return {**entry, "verdict": attempt.verdict} if attempt.verdict else entry


def _alternative(index: int, route: Route, tried: Sequence[PastAttempt], failure: Fail | None) -> dict[str, Any]:
    made = [attempt for attempt in tried if attempt.code != OVER_BUDGET]
    asked = sum(attempt.route == index for attempt in made)
    entry = {"capability": route.capability, "provider": route.provider, "asked": asked}
    if asked:
        return entry
    refused = next((attempt.message for attempt in tried if attempt.route == index), "")
    return {**entry, "why_not": (refused or _why_not(route, failure))[:TEXT_LIMIT]}


def _why_not(route: Route, failure: Fail | None) -> str:
    if route.closed:
        return route.closed
    if failure is None:
        return "an earlier one gave the result"
    if failure.code == OUTCOME_UNKNOWN:
        return "an attempt of unknown outcome is not followed by another"
    return "the call's time was over"
