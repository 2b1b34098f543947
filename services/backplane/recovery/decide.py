"""The next step for a call, given the earlier attempts: the recovery core.

Here: values in, the next step out. Not here: clocks, sleeping, chance (jitter comes in as a number), providers, Kafka.

A call has routes: its own providers by rank, then those of the fallback capabilities. Laws (held against a naive oracle
by tests/properties/test_capability_recovery.py). A route is tried at most ``max_attempts`` times, and again only after
a failure that can pass. Routes are asked in their order, each in one unbroken row. One is left only when its attempts
are used up, its failure cannot pass, it is closed, or it needs too much patience. A closed route is never asked, and
nothing begins at or after the deadline. An unsafe attempt whose effect may have happened is settled before anything
else. If it cannot be settled, the call ends: it is never tried again, anywhere, and no substitute covers it up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from agents_sdk.recovery import Backoff, Retry
from backplane.manifests.model import ErrorClass

PASSING: Final[frozenset[ErrorClass]] = frozenset({"transient", "rate_limited", "outage"})
"""Failures that time may cure; only these are retried at the same provider."""
MESSAGE_LIMIT: Final = 2_000
"""Characters; the limit of the facts' error_message."""
OUTCOME_UNKNOWN: Final = "outcome_unknown"
WAITS: Final[dict[Backoff, Callable[[int], float]]] = {
    "exponential": lambda number: 2.0 ** (number - 1),
    "linear": float,
    "constant": lambda _: 1.0,
}
"""Backoff → the wait after the ``number``-th failure, as a multiple of the first."""

Verdict: TypeAlias = Literal["", "happened", "not_happened", "unknown"]
"""A provider's answer about an attempt of unknown outcome; empty: it was not asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How far recovery may go for one call."""

    deadline: float
    """Seconds since the call was taken, over all routes."""
    degradable: bool = False
    """A degraded result is declared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One provider of one capability that may be asked."""

    capability: str
    provider: str
    retry: Retry
    unsafe: bool = False
    """Doing it twice is not the same as once."""
    reconcilable: bool = False
    """The provider can be asked whether an attempt had its effect."""
    closed: str = ""
    """Why it cannot be asked now; empty: it can."""

    def __str__(self) -> str:
        return f"{self.capability}/{self.provider}" if self.provider else self.capability


@dataclass(frozen=True, slots=True, kw_only=True)
class PastAttempt:
    """One attempt that was made; ``error_class`` None: it succeeded."""

    route: int
    """Index of its route."""
    error_class: ErrorClass | None = None
    code: str = ""
    message: str = ""
    own: bool = False
    """The message is ours; else it is a provider's."""
    retry_after: float | None = None
    uncertain: bool = False
    """The effect may have happened all the same."""
    verdict: Verdict = ""
    latency_ms: float = 0.0

    @property
    def succeeded(self) -> bool:
        return self.error_class is None or self.verdict == "happened"


@dataclass(frozen=True, slots=True)
class Call:
    """Ask this route, ``after`` seconds from now; ``attempt`` counts over all routes."""

    route: int
    attempt: int
    after: float = 0.0


@dataclass(frozen=True, slots=True)
class Reconcile:
    """Ask the provider of the last attempt whether it had its effect."""

    route: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Succeed:
    """The last attempt's result is the call's."""

    route: int


@dataclass(frozen=True, slots=True)
class Fail:
    """The call ends without a result; ``error_class`` is that of the last attempt unless the outcome is unknown."""

    error_class: ErrorClass
    code: str
    message: str
    """Our own words."""
    route: int | None = None
    """Of the last attempt; None: there was none."""
    said: str = ""
    """The words of others, such as providers; shortened."""
    said_by: str = ""


@dataclass(frozen=True, slots=True)
class Degrade:
    """The call ends with the declared substitute, because of this failure."""

    because: Fail


Step: TypeAlias = Call | Reconcile | Succeed | Fail | Degrade


def next_step(
    policy: Policy, routes: Sequence[Route], tried: Sequence[PastAttempt], elapsed: float, jitter: float
) -> Step:
    """The step after ``tried``, ``elapsed`` seconds into the call. ``routes``: as they stand now, always the same
    ones in the same order; ``jitter``: a number in [0, 1)."""
    step = _step(policy, routes, tried, elapsed, jitter)
    if isinstance(step, Fail) and policy.degradable and step.code != OUTCOME_UNKNOWN:
        return Degrade(step)
    return step


def _step(policy: Policy, routes: Sequence[Route], tried: Sequence[PastAttempt], elapsed: float, jitter: float) -> Step:
    left = policy.deadline - elapsed
    if not tried:
        first = _next_open(routes, 0)
        if first is None:
            return _nobody(routes)
        if left <= 0:
            return Fail("transient", "deadline_exceeded", f"its {policy.deadline:g} s were over before it began")
        return Call(first, 1)
    last = tried[-1]
    if last.succeeded:
        return Succeed(last.route)
    route = routes[last.route]
    if route.unsafe and last.uncertain and last.verdict != "not_happened":
        if route.reconcilable and not last.verdict:
            return Reconcile(last.route, len(tried))
        reason = "the effect may have happened, so it was not tried again"
        return _failed("unknown", OUTCOME_UNKNOWN, reason, routes, tried)
    following = _next_open(routes, last.route + 1)
    wait = _wait_for_same(route, tried, jitter, following is not None)
    if wait is not None and wait < left:
        return Call(last.route, len(tried) + 1, wait)
    if following is not None and left > 0:
        return Call(following, len(tried) + 1)
    assert last.error_class is not None
    if following is not None or wait is not None:
        reason = f"its {policy.deadline:g} s were over"
        return _failed(last.error_class, "deadline_exceeded", reason, routes, tried)
    return _failed(last.error_class, "providers_exhausted", "every provider failed", routes, tried)


def _failed(
    error_class: ErrorClass, code: str, reason: str, routes: Sequence[Route], tried: Sequence[PastAttempt]
) -> Fail:
    """The failure in our own words; what providers said stands beside them."""
    said = _joined((routes[each.route].provider, each.error_class, each.message) for each in tried if not each.own)
    speakers = dict.fromkeys(routes[each.route].provider for each in tried if not each.own and each.message)
    return Fail(
        error_class,
        code,
        f"{reason}: {attempts_text(routes, tried)}"[:MESSAGE_LIMIT],
        tried[-1].route,
        said[:MESSAGE_LIMIT] if speakers else "",
        f"provider {', '.join(speakers)}" if speakers else "",
    )


def _next_open(routes: Sequence[Route], start: int) -> int | None:
    return next((index for index in range(start, len(routes)) if not routes[index].closed), None)


def _nobody(routes: Sequence[Route]) -> Fail:
    reason = "; ".join(f"{route}: {route.closed}" for route in routes)
    message = "no provider of this capability can be asked" + (f": {reason}" if reason else "")
    return Fail("outage", "no_provider", message[:MESSAGE_LIMIT])


def backoff(retry: Retry, number: int, jitter: float) -> float:
    """Seconds to wait after the ``number``-th failure of a provider (from 1), as Retry says; chance passed in."""
    return jitter * min(retry.wait_max_seconds, retry.wait_initial_seconds * WAITS[retry.backoff](number))


def _wait_for_same(route: Route, tried: Sequence[PastAttempt], jitter: float, another: bool) -> float | None:
    """Seconds until the route that failed last may be asked again; None: it is not asked again. A provider that wants
    to be left alone for longer than ``wait_max_seconds`` is waited for only when there is no other."""
    last = tried[-1]
    failures = sum(attempt.route == last.route for attempt in tried)
    passing = last.error_class in PASSING or last.verdict == "not_happened"
    if route.closed or not passing or failures >= route.retry.max_attempts:
        return None
    wait = backoff(route.retry, failures, jitter)
    if last.retry_after is None:
        return wait
    if another and last.retry_after > route.retry.wait_max_seconds:
        return None
    return max(wait, last.retry_after)


def attempts_text(routes: Sequence[Route], tried: Sequence[PastAttempt]) -> str:
    """The attempts in order and our own words, the same failure of the same provider in a row once."""
    return _joined((routes[each.route].provider, each.error_class, each.message if each.own else "") for each in tried)


def _joined(failures: Iterable[tuple[str, ErrorClass | None, str]]) -> str:
    lines: list[tuple[str, int]] = []
    for provider, error_class, message in failures:
        line = f"{provider} {error_class}: {message}" if message else f"{provider} {error_class}"
        if lines and lines[-1][0] == line:
            lines[-1] = (line, lines[-1][1] + 1)
        else:
            lines.append((line, 1))
    return "; ".join(line if times == 1 else f"{line} ({times} times)" for line, times in lines)
