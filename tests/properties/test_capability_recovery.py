"""Laws of the recovery core: whole stories of a call, played against scripted providers and checked by other means."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents_sdk.recovery import Retry
from services.capabilities.decide import (
    MESSAGE_LIMIT,
    PASSING,
    Call,
    Degrade,
    Fail,
    Policy,
    Step,
    Succeed,
    Tried,
    backoff,
    next_step,
)
from services.capabilities.progress import Progress

CLASSES = ["transient", "rate_limited", "invalid_request", "auth", "quota", "content_refused", "outage", "unknown"]
seconds = st.floats(0, 30, allow_nan=False)
retries = st.builds(
    Retry,
    max_attempts=st.integers(1, 5),
    backoff=st.sampled_from(["exponential", "linear", "constant"]),
    wait_initial_seconds=st.floats(0, 2),
    wait_max_seconds=st.floats(0, 5),
)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    return Policy(
        retry=draw(retries),
        deadline=draw(st.floats(0.01, 60)),
        unsafe=draw(st.booleans()),
        degradable=draw(st.booleans()),
    )


@dataclass(frozen=True)
class Answer:
    """What a provider does when it is asked: how long it takes, and what comes of it."""

    takes: float
    error_class: str | None
    retry_after: float | None
    uncertain: bool


answers = st.builds(Answer, st.floats(0, 10), st.sampled_from([None, *CLASSES]), st.none() | seconds, st.booleans())


@dataclass
class Story:
    """A call played to its end."""

    policy: Policy
    providers: list[str]
    tried: list[Tried]
    began: list[float]
    """When each attempt began."""
    ended: list[float]
    steps: list[Step]


@st.composite
def stories(draw: st.DrawFn) -> Story:
    policy = draw(policies())
    providers = [f"p{number}" for number in range(draw(st.integers(0, 4)))]
    now = draw(st.sampled_from([0.0, 0.0, 0.0, 20.0]))
    story = Story(policy, providers, [], [], [], [])
    while True:
        step = next_step(policy, providers, story.tried, now, draw(st.floats(0, 0.999)))
        story.steps.append(step)
        if not isinstance(step, Call):
            return story
        assert len(story.tried) < 100, "it never ends"
        now += step.after
        answer = draw(answers)
        story.began.append(now)
        now += answer.takes
        story.ended.append(now)
        story.tried.append(
            Tried(
                provider=step.provider,
                error_class=answer.error_class,  # type: ignore[arg-type]  # one of the literals
                message="words",
                retry_after=answer.retry_after,
                uncertain=answer.uncertain and answer.error_class is not None,
            )
        )


@given(stories())
def test_no_provider_is_tried_more_often_than_allowed(story: Story) -> None:
    """At most max_attempts each, and again only after a failure that can pass."""
    for provider in story.providers:
        own = [attempt for attempt in story.tried if attempt.provider == provider]
        assert len(own) <= story.policy.retry.max_attempts
        assert all(attempt.error_class in PASSING for attempt in own[:-1])


@given(stories())
def test_providers_are_asked_in_rank_order_without_gaps(story: Story) -> None:
    """The asked ones are a prefix of the ranking, each in one unbroken row, and attempts count from 1."""
    row = list(dict.fromkeys(attempt.provider for attempt in story.tried))
    assert row == story.providers[: len(row)]
    assert [attempt.provider for attempt in story.tried] == sorted(attempt.provider for attempt in story.tried)
    calls = [step for step in story.steps if isinstance(step, Call)]
    assert [call.attempt for call in calls] == list(range(1, len(calls) + 1))


@given(stories())
def test_a_provider_is_left_only_for_a_reason(story: Story) -> None:
    """Its attempts are used up, its failure cannot pass, it wants more patience than there is, or time is short."""
    policy = story.policy
    for place, (last, following) in enumerate(zip(story.tried, story.tried[1:], strict=False)):
        if last.provider == following.provider:
            continue
        attempts = sum(attempt.provider == last.provider for attempt in story.tried[: place + 1])
        impatient = last.retry_after is not None and last.retry_after > policy.retry.wait_max_seconds
        longest = max(last.retry_after or 0.0, backoff(policy, attempts, 1.0))
        late = story.ended[place] + longest >= policy.deadline
        assert attempts == policy.retry.max_attempts or last.error_class not in PASSING or impatient or late


@given(stories())
def test_nothing_begins_at_or_after_the_deadline(story: Story) -> None:
    """Waiting included."""
    assert all(began < story.policy.deadline + 1e-6 for began in story.began)


@given(stories())
def test_retry_after_is_honoured(story: Story) -> None:
    """The same provider is not asked again before the time it named."""
    for place, (last, following) in enumerate(zip(story.tried, story.tried[1:], strict=False)):
        if last.provider == following.provider and last.retry_after is not None:
            assert story.began[place + 1] - story.ended[place] >= last.retry_after - 1e-6


@given(policies(), st.floats(0.1, 5), st.floats(0, 0.999), st.booleans())
def test_a_passing_failure_waits_for_the_longer_of_backoff_and_retry_after(
    policy: Policy, retry_after: float, jitter: float, another: bool
) -> None:
    """While attempts and time are left, and patience where there is another provider."""
    policy = replace(policy, retry=policy.retry.model_copy(update={"max_attempts": 2}), deadline=60.0)
    last = Tried(provider="p0", error_class="rate_limited", retry_after=retry_after)

    step = next_step(policy, ["p0", "p1"] if another else ["p0"], [last], 1.0, jitter)

    if another and retry_after > policy.retry.wait_max_seconds:
        assert step == Call("p1", 2)
    else:
        assert step == Call("p0", 2, max(retry_after, backoff(policy, 1, jitter)))


@given(stories())
def test_an_unsafe_call_that_may_have_had_its_effect_is_never_tried_again(story: Story) -> None:
    """It ends as outcome_unknown, and no degraded result covers that up."""
    if not story.policy.unsafe:
        return
    assert not any(attempt.uncertain for attempt in story.tried[:-1])
    if story.tried and story.tried[-1].uncertain:
        end = story.steps[-1]
        assert isinstance(end, Fail)
        assert (end.error_class, end.code) == ("unknown", "outcome_unknown")


@given(stories())
def test_the_end_follows_from_what_was_tried(story: Story) -> None:
    """Oracle: success iff the last attempt succeeded; else a failure of the last class; degraded where declared."""
    end = story.steps[-1]
    if story.tried and story.tried[-1].error_class is None:
        assert end == Succeed(story.tried[-1].provider)
        return
    failure = end.because if isinstance(end, Degrade) else end
    assert isinstance(failure, Fail)
    assert isinstance(end, Degrade) == (story.policy.degradable and failure.code != "outcome_unknown")
    assert len(failure.message) <= MESSAGE_LIMIT
    if failure.code == "providers_exhausted":
        assert {attempt.provider for attempt in story.tried} == set(story.providers)
        assert failure.error_class == story.tried[-1].error_class
        assert all(provider in failure.message for provider in story.providers)
    elif failure.code == "no_provider":
        assert story.providers == []


@given(stories(), st.floats(0, 0.999))
def test_deciding_again_decides_the_same(story: Story, jitter: float) -> None:
    """No clock, no chance, no memory."""
    arguments = (story.policy, story.providers, story.tried, 1.0, jitter)
    assert next_step(*arguments) == next_step(*arguments)


@given(policies(), st.integers(1, 20), st.floats(0, 0.999))
def test_backoff_is_a_random_part_of_a_bounded_growing_wait(policy: Policy, number: int, jitter: float) -> None:
    """Oracle: doubled, added or repeated step by step, never above the most; full jitter is a part of all of it."""
    retry = policy.retry
    whole = retry.wait_initial_seconds
    for _ in range(number - 1):
        grown = {"exponential": whole * 2, "linear": whole + retry.wait_initial_seconds, "constant": whole}
        whole = grown[retry.backoff]

    wait = backoff(policy, number, jitter)

    assert wait == pytest.approx(jitter * min(whole, retry.wait_max_seconds))


@given(st.lists(st.tuples(st.integers(1, 4), st.booleans()), max_size=40), st.randoms(use_true_random=False))
def test_progress_is_the_lowest_unfinished_offset(records: list[tuple[int, bool]], chance: object) -> None:
    """Oracle: the smallest taken offset that is not finished, else the one after the last read; gaps do not matter."""
    progress, taken, offset = Progress(), set(), 0
    for gap, work in records:
        offset += gap
        if work:
            progress.take(offset)
            taken.add(offset)
        else:
            progress.read(offset)
    order = sorted(taken)
    chance.shuffle(order)  # type: ignore[attr-defined]  # hypothesis gives a Random
    for each in order:
        assert progress.lowest == min(taken)
        assert progress.unfinished == len(taken)
        progress.finish(each)
        taken.discard(each)
    assert progress.lowest == (offset + 1 if records else 0)
    assert progress.unfinished == 0
