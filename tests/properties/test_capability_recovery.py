"""Laws of the recovery core: whole stories of a call, played against scripted providers and checked by other means."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents_sdk.core.ids import CallId
from agents_sdk.recovery import Backoff, Retry
from backplane.recovery.decide import (
    MESSAGE_LIMIT,
    OUTCOME_UNKNOWN,
    PASSING,
    Call,
    Degrade,
    Fail,
    PastAttempt,
    Policy,
    Reconcile,
    Route,
    Step,
    Succeed,
    backoff,
    next_step,
)
from backplane.recovery.story import report

CLASSES = ["transient", "rate_limited", "invalid_request", "auth", "quota", "content_refused", "outage", "unknown"]
seconds = st.floats(0, 30, allow_nan=False)
retries = st.builds(
    Retry,
    max_attempts=st.integers(1, 5),
    backoff=st.sampled_from(get_args(Backoff)),
    wait_initial_seconds=st.floats(0, 2),
    wait_max_seconds=st.floats(0, 5),
)
policies = st.builds(Policy, deadline=st.floats(0.01, 60), degradable=st.booleans())


@st.composite
def all_routes(draw: st.DrawFn) -> list[Route]:
    """Providers of one capability, then of two others; safe and unsafe ones mixed."""
    return [
        Route(
            capability=f"c{index // 2}",
            provider=f"p{index}",
            retry=draw(retries),
            unsafe=draw(st.booleans()),
            reconcilable=draw(st.booleans()),
        )
        for index in range(draw(st.integers(0, 5)))
    ]


@dataclass(frozen=True)
class Answer:
    """What a provider does when it is asked: how long it takes, and what comes of it."""

    takes: float
    error_class: str | None
    retry_after: float | None
    uncertain: bool
    verdict: str
    """What it says of it when it is asked again."""


answers = st.builds(
    Answer,
    st.floats(0, 10),
    st.sampled_from([None, *CLASSES]),
    st.none() | seconds,
    st.booleans(),
    st.sampled_from(["happened", "not_happened", "unknown"]),
)


@dataclass
class Story:
    """A call played to its end."""

    policy: Policy
    routes: list[Route]
    """As they were at the end."""
    tried: list[PastAttempt]
    began: list[float]
    """When each attempt began."""
    ended: list[float]
    steps: list[Step]
    seen: list[tuple[list[Route], list[PastAttempt], float, float]]
    """What each step was decided on."""


@st.composite
def stories(draw: st.DrawFn) -> Story:
    policy, routes = draw(policies), draw(all_routes())
    closable = st.integers(0, max(len(routes) - 1, 0))
    now = draw(st.sampled_from([0.0, 0.0, 0.0, 20.0]))
    story = Story(policy, routes, [], [], [], [], [])
    answer: Answer | None = None
    while True:
        if routes and draw(st.integers(0, 3)) == 0:  # a breaker opens or closes meanwhile
            index = draw(closable)
            routes[index] = replace(routes[index], closed=draw(st.sampled_from(["", "its breaker is open"])))
        jitter = draw(st.floats(0, 0.999))
        story.seen.append((list(routes), list(story.tried), now, jitter))
        step = next_step(policy, routes, story.tried, now, jitter)
        story.steps.append(step)
        if isinstance(step, Reconcile):
            assert answer is not None
            story.tried[-1] = replace(story.tried[-1], verdict=answer.verdict)  # type: ignore[arg-type]  # a literal
            continue
        if not isinstance(step, Call):
            return story
        assert len(story.tried) < 200, "it never ends"
        now += step.after
        answer = draw(answers)
        story.began.append(now)
        now += answer.takes
        story.ended.append(now)
        story.tried.append(
            PastAttempt(
                route=step.route,
                error_class=answer.error_class,  # type: ignore[arg-type]  # one of the literals
                message="words",
                retry_after=answer.retry_after,
                uncertain=answer.uncertain and answer.error_class is not None,
            )
        )


def naive(policy: Policy, routes: list[Route], tried: list[PastAttempt], now: float, jitter: float) -> Step | str:
    """The oracle: the decision written down as the documentation tells it, one rule after the other, by other means
    than the core's. A failure is told by its code only."""
    end = naive_end(policy, routes, tried, now, jitter)
    if isinstance(end, str) and policy.degradable and end != OUTCOME_UNKNOWN:
        return f"degraded: {end}"
    return end


def naive_end(policy: Policy, routes: list[Route], tried: list[PastAttempt], now: float, jitter: float) -> Step | str:
    before = tried[-1].route if tried else -1
    open_ones = [index for index, route in enumerate(routes) if index > before and route.closed == ""]
    if tried and (tried[-1].error_class is None or tried[-1].verdict == "happened"):
        return Succeed(before)
    if tried and routes[before].unsafe and tried[-1].uncertain:
        if tried[-1].verdict == "" and routes[before].reconcilable:
            return Reconcile(before, len(tried))
        if tried[-1].verdict != "not_happened":
            return OUTCOME_UNKNOWN
    again = None
    if tried and routes[before].closed == "":
        route, last = routes[before], tried[-1]
        failures = len([attempt for attempt in tried if attempt.route == before])
        can_pass = last.error_class in ("transient", "rate_limited", "outage") or last.verdict == "not_happened"
        patient = last.retry_after is None or not open_ones or last.retry_after <= route.retry.wait_max_seconds
        if can_pass and patient and failures < route.retry.max_attempts:
            again = max(last.retry_after or 0.0, backoff(route.retry, failures, jitter))
    left = policy.deadline - now
    if again is not None and again < left:
        return Call(before, len(tried) + 1, again)
    if open_ones and left > 0:
        return Call(open_ones[0], len(tried) + 1)
    if not tried:
        return "deadline_exceeded" if open_ones else "no_provider"
    return "deadline_exceeded" if open_ones or again is not None else "providers_exhausted"


@given(stories())
def test_every_step_is_the_one_that_the_rules_give(story: Story) -> None:
    """The core and the oracle agree at every step of every story."""
    for step, seen in zip(story.steps, story.seen, strict=True):
        told: Step | str = step
        if isinstance(step, Fail):
            told = step.code
        elif isinstance(step, Degrade):
            told = f"degraded: {step.because.code}"
        assert told == naive(story.policy, *seen)


@given(stories())
def test_no_route_is_tried_more_often_than_allowed(story: Story) -> None:
    """At most max_attempts each, and again only after a failure that can pass."""
    for index, route in enumerate(story.routes):
        own = [attempt for attempt in story.tried if attempt.route == index]
        assert len(own) <= route.retry.max_attempts
        assert all(attempt.error_class in PASSING or attempt.verdict == "not_happened" for attempt in own[:-1])


@given(stories())
def test_routes_are_asked_in_their_order_and_attempts_count_from_one(story: Story) -> None:
    """Each in one unbroken row, and no open one is skipped."""
    assert [attempt.route for attempt in story.tried] == sorted(attempt.route for attempt in story.tried)
    calls = [step for step in story.steps if isinstance(step, Call)]
    assert [call.attempt for call in calls] == list(range(1, len(calls) + 1))
    for step, (routes, tried, _, _) in zip(story.steps, story.seen, strict=True):
        if isinstance(step, Call):
            before = tried[-1].route if tried else -1
            assert not routes[step.route].closed
            assert all(route.closed for route in routes[before + 1 : step.route])


@given(stories())
def test_nothing_begins_at_or_after_the_deadline(story: Story) -> None:
    """Waiting included, over all tiers."""
    assert all(began < story.policy.deadline + 1e-6 for began in story.began)


@given(stories())
def test_retry_after_is_honoured(story: Story) -> None:
    """The same provider is not asked again before the time it named."""
    for place, (last, following) in enumerate(zip(story.tried, story.tried[1:], strict=False)):
        if last.route == following.route and last.retry_after is not None:
            assert story.began[place + 1] - story.ended[place] >= last.retry_after - 1e-6


@given(stories())
def test_an_unsafe_attempt_that_may_have_had_its_effect_is_never_followed_by_another(story: Story) -> None:
    """Unless its provider said that it had none; and no degraded result covers it up."""
    for attempt in story.tried[:-1]:
        if story.routes[attempt.route].unsafe and attempt.uncertain:
            assert attempt.verdict == "not_happened"
    last = story.tried[-1] if story.tried else None
    if last and story.routes[last.route].unsafe and last.uncertain and last.verdict in ("", "unknown"):
        end = story.steps[-1]
        assert isinstance(end, Fail)
        assert (end.error_class, end.code) == ("unknown", OUTCOME_UNKNOWN)


@given(stories())
def test_a_report_has_every_attempt_every_alternative_and_a_next_step(story: Story) -> None:
    """What was asked and what was not add up to all routes; each that was not has a reason."""
    end = story.steps[-1]
    failure = end.because if isinstance(end, Degrade) else end if isinstance(end, Fail) else None
    told = report(CallId("call"), "c0", story.routes, story.tried, failure)

    assert [attempt["attempt"] for attempt in told["attempts"]] == list(range(1, len(story.tried) + 1))[-50:]
    assert [each["provider"] for each in told["alternatives"]] == [route.provider for route in story.routes]
    assert sum(each["asked"] for each in told["alternatives"]) == len(story.tried)
    assert all(each.get("why_not") for each in told["alternatives"] if not each["asked"])
    assert ("action" in told) == (failure is not None)
    if failure is not None:
        assert len(failure.message) <= MESSAGE_LIMIT
        assert "{" not in told["action"]


@given(stories(), st.floats(0, 0.999))
def test_deciding_again_decides_the_same(story: Story, jitter: float) -> None:
    """No clock, no chance, no memory."""
    arguments = (story.policy, story.routes, story.tried, 1.0, jitter)
    assert next_step(*arguments) == next_step(*arguments)


@given(retries, st.integers(1, 20), st.floats(0, 0.999))
def test_backoff_is_a_random_part_of_a_bounded_growing_wait(retry: Retry, number: int, jitter: float) -> None:
    """Oracle: doubled, added or repeated step by step, never above the most; full jitter is a part of all of it."""
    whole = retry.wait_initial_seconds
    for _ in range(number - 1):
        grown = {"exponential": whole * 2, "linear": whole + retry.wait_initial_seconds, "constant": whole}
        whole = grown[retry.backoff]

    wait = backoff(retry, number, jitter)

    assert wait == pytest.approx(jitter * min(whole, retry.wait_max_seconds))
