"""Attempts back off: the wait of a policy, which policy holds, and what whoever handles the message is told."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents_sdk.core.ids import DeliveryId
from agents_sdk.core.ledger import retry
from tests.support.ledger_desk import Desk, answer, detail, kinds


def policy(**fields: int) -> str:
    return msgspec.json.encode(fields).decode()


SECOND = policy(initial_ms=1_000, factor_percent=200, max_ms=60_000)


def desk_with(retries: dict[str, str], **spec: object) -> Desk:
    desk = Desk()
    desk.register("one", subscriptions=["go", "search.*"], retries=retries, **spec)
    desk.start()
    return desk


def test_the_next_attempt_is_for_later_and_each_wait_is_longer() -> None:
    """The record says when; whoever handles the message is told how long that is from now."""
    desk = desk_with({"": SECOND})
    delivered: Any = desk.deliver("one")
    waits = []
    for _ in range(2):
        step = desk.fail(delivered)
        assert kinds(step) == ["HandlerFailed", "MessageDelivered"]
        delivered = step.facts[-1]
        waits.append((delivered.not_before - delivered.at) // 1_000)
        assert detail(step)["wait_us"] == waits[-1] * 1_000
        assert detail(step)["run_seq"] == delivered.run_seq
    assert waits == [1_000, 2_000]
    assert kinds(desk.fail(delivered))[:2] == ["HandlerFailed", "MessageDeadLettered"]


def test_whoever_takes_the_inbox_over_waits_for_what_is_left() -> None:
    """The wait does not begin anew with another process."""
    desk = desk_with({"": SECOND})
    first = desk.deliver("one")
    due = desk.fail(first).facts[-1].not_before  # type: ignore[attr-defined]
    step = desk.within(first, "StartHandler", attempt=1)
    assert detail(step)["attempt"] == 2
    assert detail(step)["wait_us"] == due - step.facts[0].at > 0


def test_an_agent_of_before_is_tried_again_at_once() -> None:
    """A registration without policies decides as it did."""
    desk = desk_with({})
    again = desk.fail(desk.deliver("one")).facts[-1]
    assert (again.not_before, "wait_us" in answer(desk.again()).detail) == (0, False)  # type: ignore[attr-defined]


def test_a_handler_may_have_its_own_policy() -> None:
    """Its attempts and its waits, and nobody else's."""
    desk = desk_with({"search.*": policy(attempts=1), "": SECOND})
    found = desk.send("SendMessage", name="search.done", recipient="one").facts[-1]
    assert kinds(desk.fail(found))[:2] == ["HandlerFailed", "MessageDeadLettered"]


@pytest.mark.parametrize(
    "text",
    [
        "5",
        "{",
        policy(initial_ms=-1),
        policy(attempts=1_001),
        policy(factor_percent=99),
        policy(jitter_percent=101),
        policy(max_ms=7 * 86_400_000 + 1),
        '{"initial_s":1}',
    ],
)
def test_a_policy_that_is_none_is_refused(text: str) -> None:
    """With its registration, not when an attempt fails."""
    desk = Desk()
    assert answer(desk.register("one", retries={"": text})).code == "invalid_command"


def test_a_traceback_is_on_the_record_within_bounds() -> None:
    """However much is sent."""
    desk = desk_with({})
    delivered: Any = desk.deliver("one")
    error = {"error_type": "ValueError", "error_message": "no", "traceback": "x" * 20_000}
    failed = desk.within(delivered, "FailHandler", attempt=1, **error).facts[0]
    assert len(failed.traceback) == 8_000  # type: ignore[attr-defined]


POLICIES = st.builds(
    retry.Policy,
    attempts=st.integers(0, 1_000),
    initial_ms=st.integers(0, retry.WAIT_LIMIT_MS),
    factor_percent=st.integers(100, 10_000),
    max_ms=st.integers(0, retry.WAIT_LIMIT_MS),
    jitter_percent=st.integers(0, 100),
)


@given(POLICIES, st.integers(1, 1_000), st.text(min_size=1, max_size=40))
def test_a_wait_is_what_the_policy_says_within_its_jitter(of: retry.Policy, attempt: int, delivery_id: str) -> None:
    """Against exact arithmetic; the same for the same delivery and attempt."""
    whole = min(of.initial_ms * (of.factor_percent / 100) ** min(attempt - 1, 20), of.max_ms)
    wait = retry.wait_ms(of, attempt, DeliveryId(delivery_id))
    assert wait == retry.wait_ms(of, attempt, DeliveryId(delivery_id))
    assert 0 <= wait <= of.max_ms
    if attempt <= 20:
        assert wait <= whole + 1
        assert wait >= whole * (100 - of.jitter_percent) / 100 - attempt * (of.factor_percent / 100) ** attempt - 2


NAMES = st.from_regex(r"[ab](\.[ab*]){0,2}", fullmatch=True)


@given(st.lists(NAMES, unique=True, max_size=5), NAMES)
def test_the_ledger_and_the_agent_mean_the_same_handler(patterns: list[str], name: str) -> None:
    """The policy that holds is that of the handler which runs."""
    from agents_sdk import Agent

    async def handle(ctx: object, event: object) -> str:
        return ""

    agent = Agent("one")
    handlers = {}
    for pattern in patterns:

        async def own(ctx: object, event: object) -> None: ...

        handlers[pattern] = agent.on(pattern)(own)
    meant = retry.most_specific(patterns, name)
    assert agent.handler_for(name) is (handlers[meant] if meant is not None else None)
