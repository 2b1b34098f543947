"""What to do next for a call, given what was tried: the recovery core.

Here: values in, the next step out. Not here: clocks, sleeping, chance (jitter comes in as a number), providers, Kafka.

Laws (tests/properties/test_capability_recovery.py holds them against a naive oracle):
  a provider is tried at most ``max_attempts`` times, and again only after a failure that can pass;
  providers are asked in rank order, and one is left only when its attempts are used up, its failure cannot pass, or it
  asks for more patience than there is;
  nothing begins at or after the deadline;
  an unsafe call whose effect may have happened is never tried again, anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from agents_sdk.recovery import Retry
from services.capabilities.model import ErrorClass

PASSING: Final[frozenset[ErrorClass]] = frozenset({"transient", "rate_limited", "outage"})
"""Failures that time may cure; only these are retried at the same provider."""
MESSAGE_LIMIT: Final = 2_000
"""Characters; the limit of the facts' error_message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How far recovery may go for one call; durations in seconds."""

    retry: Retry
    deadline: float
    """Since the call was taken."""
    unsafe: bool = False
    degradable: bool = False
    """A degraded result is declared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One attempt that was made; ``error_class`` None: it succeeded."""

    provider: str
    error_class: ErrorClass | None = None
    code: str = ""
    message: str = ""
    retry_after: float | None = None
    uncertain: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """Ask this provider, ``after`` seconds from now; ``attempt`` counts over all providers."""

    provider: str
    attempt: int
    after: float = 0.0


@dataclass(frozen=True, slots=True)
class Succeed:
    """The last attempt's result is the call's."""

    provider: str


@dataclass(frozen=True, slots=True)
class Fail:
    """The call ends without a result; ``error_class`` is that of the last attempt unless the outcome is unknown."""

    error_class: ErrorClass
    code: str
    message: str
    provider: str = ""


@dataclass(frozen=True, slots=True)
class Degrade:
    """The call ends with the declared substitute, because of this failure."""

    because: Fail


Step: TypeAlias = Call | Succeed | Fail | Degrade


def next_step(policy: Policy, providers: Sequence[str], tried: Sequence[Tried], elapsed: float, jitter: float) -> Step:
    """The step after ``tried``, ``elapsed`` seconds into the call. ``providers``: those that can be asked, by rank;
    ``jitter``: a number in [0, 1)."""
    step = _step(policy, providers, tried, elapsed, jitter)
    if isinstance(step, Fail) and policy.degradable and step.code != "outcome_unknown":
        return Degrade(step)
    return step


def _step(policy: Policy, providers: Sequence[str], tried: Sequence[Tried], elapsed: float, jitter: float) -> Step:
    if tried and tried[-1].error_class is None:
        return Succeed(tried[-1].provider)
    if not providers:
        return Fail("outage", "no_provider", "no provider of this capability is ready to be asked")
    left = policy.deadline - elapsed
    if not tried:
        if left <= 0:
            return Fail("transient", "deadline_exceeded", f"its {policy.deadline:g} s were over before it began")
        return Call(providers[0], 1)
    last = tried[-1]
    if policy.unsafe and last.uncertain:
        story = f"the effect may have happened, so it was not tried again: {_story(tried)}"
        return Fail("unknown", "outcome_unknown", story[:MESSAGE_LIMIT], last.provider)
    rank = providers.index(last.provider)
    another = rank + 1 < len(providers)
    wait = _wait_for_same(policy, tried, jitter, another)
    if wait is not None and wait < left:
        return Call(last.provider, len(tried) + 1, wait)
    if another and left > 0:
        return Call(providers[rank + 1], len(tried) + 1)
    assert last.error_class is not None
    if another or wait is not None:
        story = f"its {policy.deadline:g} s were over: {_story(tried)}"
        return Fail(last.error_class, "deadline_exceeded", story[:MESSAGE_LIMIT], last.provider)
    story = f"every provider failed: {_story(tried)}"
    return Fail(last.error_class, "providers_exhausted", story[:MESSAGE_LIMIT], last.provider)


def backoff(policy: Policy, number: int, jitter: float) -> float:
    """Seconds to wait after the ``number``-th failure of a provider (from 1), as Retry says; chance passed in."""
    factor = {"exponential": 2.0 ** (number - 1), "linear": float(number), "constant": 1.0}[policy.retry.backoff]
    return jitter * min(policy.retry.wait_max_seconds, policy.retry.wait_initial_seconds * factor)


def _wait_for_same(policy: Policy, tried: Sequence[Tried], jitter: float, another: bool) -> float | None:
    """Seconds until the provider that failed last may be asked again; None: it is not asked again. A provider that
    wants to be left alone for longer than ``wait_max`` is waited for only when there is no other."""
    last = tried[-1]
    failures = sum(attempt.provider == last.provider for attempt in tried)
    if last.error_class not in PASSING or failures >= policy.retry.max_attempts:
        return None
    wait = backoff(policy, failures, jitter)
    if last.retry_after is None:
        return wait
    if another and last.retry_after > policy.retry.wait_max_seconds:
        return None
    return max(wait, last.retry_after)


def _story(tried: Sequence[Tried]) -> str:
    """What was tried, in order, the same failure of the same provider in a row once."""
    lines: list[tuple[str, int]] = []
    for attempt in tried:
        line = f"{attempt.provider} {attempt.error_class}: {attempt.message}"
        if lines and lines[-1][0] == line:
            lines[-1] = (line, lines[-1][1] + 1)
        else:
            lines.append((line, 1))
    return "; ".join(line if times == 1 else f"{line} ({times} times)" for line, times in lines)
