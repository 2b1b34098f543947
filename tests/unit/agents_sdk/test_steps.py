"""Steps of a handler: made once, given back to each later attempt, their errors too; unsafe ones at most once."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel

from agents_sdk import NotDone, Retry, StepFailed, StepOutcomeUnknown, step
from agents_sdk.context import Context, HandlerStopped, entered
from tests.support.step_place import Crashed, Place

NOTHING: dict[str, str] = {}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits between tries and for claims take no time."""
    real = asyncio.sleep
    monkeypatch.setattr(asyncio, "sleep", lambda seconds, *more: real(0, *more))


async def test_a_step_is_one_command_and_is_not_made_again(place: Place) -> None:
    assert await place.attempt(first=True).step("draft", place.draft, "cats", tone="dry") == "cats dry"
    assert len(place.requests.sent) == 1
    for _ in range(2):
        assert await place.attempt().step("draft", place.draft, "cats", tone="dry") == "cats dry"
    assert (place.made, len(place.facts("CallCompleted"))) == (["cats"], 1)
    assert place.facts("CallRequested")[0].params == '{"args":["cats"],"tone":"dry"}'


async def test_a_crash_before_its_end_is_recorded_makes_a_safe_step_again(place: Place) -> None:
    place.crash_before = "end"
    with pytest.raises(Crashed):
        await place.attempt(first=True).step("draft", place.draft, "cats")
    assert await place.attempt().step("draft", place.draft, "cats") == "cats"
    assert place.made == ["cats", "cats"]


async def test_of_two_attempts_at_once_the_recorded_result_holds(place: Place) -> None:
    """A zombie's result is not its own any more."""
    counted = iter(("first", "second"))

    async def other() -> str:
        return next(counted)

    zombie, owner = place.attempt(first=True), place.attempt()
    both = await asyncio.gather(owner.step("draft", other), zombie.step("draft", other))
    assert both[0] == both[1]


class Draft(BaseModel):
    title: str


@dataclass
class Plan:
    steps: list[str]


def planned() -> Plan:
    return Plan(["a"])


async def drafted() -> Draft:
    return Draft(title="t")


async def test_what_a_function_says_it_returns_comes_back_each_time(place: Place) -> None:
    for first in (True, False):
        ctx = place.attempt(first=first)
        assert await ctx.step("draft", drafted) == Draft(title="t")
        assert await ctx.step("plan", planned) == Plan(["a"])
        plain: Any = await ctx.step("plain", lambda: (1, {"a": None}))
        assert plain == [1, {"a": None}]
        assert await ctx.step("typed", lambda: {"title": "t"}, type_=Draft) == Draft(title="t")
        assert await ctx.step("none", NOTHING.get, "a") is None


async def test_bytes_become_artifacts(place: Place) -> None:
    """Whole or within a value; the handler has asked for all that is recorded when it ends."""
    for first in (True, False):
        ctx = place.attempt(first=first)
        assert await ctx.step("image", lambda: b"png") == b"png"
        assert await ctx.step("two", lambda: {"a": [b"1", "x"], "b": b"2"}) == {"a": [b"1", "x"], "b": b"2"}
        asked = len(ctx._attempt.asked)
    assert len(place.facts("StateWritten")) == 3
    step = place.desk.within(place.delivery, "CompleteHandler", attempt=1, counted=True, commands=asked)
    assert step.facts[0].kind == "HandlerCompleted"


async def test_an_error_is_recorded_and_given_again(place: Place) -> None:
    def broken() -> None:
        place.made.append("broken")
        raise LookupError("no such page")

    for first in (True, False):
        with pytest.raises(StepFailed, match="no such page") as raised:
            await place.attempt(first=first).step("read", broken)
        fields = raised.value.fields
        assert (fields["step"], fields["error_type"], fields["said_by"]) == ("read", "LookupError", "writer")
        assert isinstance(raised.value.__cause__, LookupError) is first
    assert place.made == ["broken"]


async def test_a_result_that_is_no_json_is_an_error_of_the_step(place: Place) -> None:
    for first in (True, False):
        with pytest.raises(StepFailed, match="not JSON"):
            await place.attempt(first=first).step("odd", object)


@pytest.mark.parametrize("retry", [3, Retry(attempts=3, initial_seconds=60)])
async def test_it_is_tried_as_often_as_is_declared(place: Place, retry: Any) -> None:
    async def flaky() -> int:
        place.made.append("try")
        if len(place.made) < 3:
            raise ConnectionError
        return 7

    assert await place.attempt(first=True).step("flaky", flaky, retry=retry) == 7
    assert (len(place.made), place.facts("CallCompleted")[0].attempts) == (3, 3)


async def test_one_that_takes_too_long_has_failed(place: Place) -> None:
    with pytest.raises(StepFailed) as raised:
        await place.attempt(first=True).step("slow", asyncio.Event().wait, timeout=0.01)
    assert raised.value.fields["error_type"] == "TimeoutError"


async def test_ctx_in_a_step_is_refused_with_the_way_out(place: Place) -> None:
    ctx = place.attempt(first=True)

    async def nested() -> None:
        await asyncio.create_task(ctx.state.set("x", 1))

    with pytest.raises(StepFailed, match="step 'outer' used ctx"):
        await ctx.step("outer", nested)


async def pay(place: Place, ctx: Context, **more: Any) -> Any:
    async def charge(amount: int) -> str:
        place.made.append(f"charge {amount}")
        return "receipt"

    return await ctx.step("pay", charge, 5, effect="unsafe", timeout=1, **more)


async def test_an_unsafe_step_is_claimed_and_settled(place: Place) -> None:
    for first in (True, False):
        assert await pay(place, place.attempt(first=first)) == "receipt"
    assert place.made == ["charge 5"]
    assert [fact.kind for fact in place.facts("CallRequested", "AttemptStarted", "CallCompleted")] == [
        "CallRequested", "AttemptStarted", "CallCompleted",
    ]  # fmt: skip


async def crashed(place: Place) -> None:
    place.crash_before = "end"
    with pytest.raises(Crashed):
        await pay(place, place.attempt(first=True))
    place.later(2)


async def test_a_crash_in_between_ends_as_unknown(place: Place) -> None:
    """Never a second time, however often it is tried."""
    await crashed(place)
    for _ in range(2):
        with pytest.raises(StepOutcomeUnknown):
            await pay(place, place.attempt())
    assert place.made == ["charge 5"]
    assert place.facts("EscalationRaised")


async def test_reconcile_finds_the_effect(place: Place) -> None:
    await crashed(place)
    for _ in range(2):
        assert await pay(place, place.attempt(), reconcile=lambda amount: f"found {amount}") == "found 5"
    assert place.made == ["charge 5"]


async def test_reconcile_says_that_nothing_happened(place: Place) -> None:
    place.crash_before = "end"
    with pytest.raises(Crashed):
        await pay(place, place.attempt(first=True))
    place.later(2)
    assert await pay(place, place.attempt(), reconcile=lambda amount: NotDone) == "receipt"
    assert place.made == ["charge 5"] * 2
    assert [fact.attempt for fact in place.facts("AttemptStarted")] == [1, 2]


async def test_an_unsafe_effect_that_raised_is_reconciled_at_once(place: Place) -> None:
    async def lost(amount: int) -> str:
        place.made.append("lost")
        raise ConnectionError("reset")

    options: dict[str, Any] = {"effect": "unsafe", "timeout": 1}
    ctx = place.attempt(first=True)
    found = await ctx.step("a", lost, 5, reconcile=lambda amount: "receipt", **options)
    assert (found, place.made) == ("receipt", ["lost"])
    with pytest.raises(StepFailed, match="reset"):
        await ctx.step("b", lost, 5, reconcile=lambda amount: NotDone, retry=2, **options)
    assert place.made == ["lost"] * 3
    with pytest.raises(StepOutcomeUnknown):
        await ctx.step("c", asyncio.Event().wait, effect="unsafe", timeout=0.01)
    for wrong in ({"effect": "odd"}, {"reconcile": print}, {"effect": "unsafe", "retry": 2}, {"timeout": 0}):
        with pytest.raises(ValueError, match=r"effect|reconcile|timeout"):
            await ctx.step("d", print, **wrong)


@step
async def summary(text: str) -> str:
    return text[:3]


@step(name="both", retry=2)
def both(a: int, b: int) -> int:
    return a + b


async def test_decorated_functions_are_steps_in_a_handler_only(place: Place) -> None:
    assert (await summary("abcdef"), await both(1, b=2)) == ("abc", 3)
    assert place.requests.sent == []
    for first in (True, False):
        with entered(place.attempt(first=first)):
            assert await summary("abcdef") == "abc"
            assert await summary("xyz…") == "xyz"
            assert await both.named("sum")(1, b=2) == 3
    names = [fact.capability for fact in place.facts("CallRequested")]
    assert names == ["step:summary", "step:summary", "step:sum"]


async def test_what_a_model_used_is_on_the_record(place: Place) -> None:
    """As attempts with their cost, of each answer that the step tells of, and by ``ctx.model`` from the answer."""
    answer = {"model": "gpt-4o-2024-08-06", "usage": {"prompt_tokens": 1_000, "completion_tokens": 100}}

    async def two() -> str:
        step.usage(answer, prompt="writer@3")
        step.usage(model="claude-sonnet-4-5", input_tokens=10, output_tokens=1)
        return "text"

    ctx = place.attempt(first=True)
    await ctx.step("two", two)
    assert await ctx.model("ask", lambda model: answer, model="x", prompt="critic@1") == answer
    tried = place.facts("AttemptSucceeded")
    assert [(one.provider, one.model, one.prompt_version) for one in tried] == [
        ("openai", "gpt-4o-2024-08-06", "writer@3"),
        ("anthropic", "claude-sonnet-4-5", ""),
        ("openai", "gpt-4o-2024-08-06", "critic@1"),
    ]
    assert (tried[0].cost_nano_usd, tried[0].price_id.split("/")[1:]) == (3_500_000, ["openai", "gpt-4o"])
    assert place.desk.book.runs[place.delivery.run_id].account.spent == sum(one.cost_nano_usd for one in tried)
    with pytest.raises(RuntimeError, match="outside a step"):
        step.usage(answer)
    with pytest.raises(StepFailed, match="has no usage"):
        await ctx.model("odd", lambda: "text")


async def test_time_and_chance_are_the_same_in_each_attempt(place: Place) -> None:
    async def seen(ctx: Context) -> list[Any]:
        before = [ctx.now(), ctx.uuid(), ctx.random(), ctx.uuid()]
        await ctx.step("draft", place.draft, "cats")
        return [*before, ctx.now(), await ctx.gather(*(one(ctx) for _ in range(2))), ctx.random()]

    async def one(ctx: Context) -> Any:
        return ctx.uuid(), ctx.random()

    first, second = [await seen(place.attempt(first=first)) for first in (True, False)]
    assert first == second
    assert first[4] > first[0]
    drawn = [first[1], first[3], *(pair[0] for pair in first[5])]
    assert len(set(drawn)) == 4
    assert 0 <= first[2] < 1


async def test_a_sleep_is_recorded_when_it_begins(place: Place) -> None:
    ctx = place.attempt(first=True)
    await ctx.sleep(0.05)
    before = ctx.now()
    again = place.attempt()
    await again.sleep(0.05)
    assert again.now() == before
    assert len(place.facts("CallCompleted")) == 1
    for wrong in (0, -1, 400 * 86_400):
        with pytest.raises(ValueError, match="seconds"):
            await ctx.sleep(wrong)


async def test_a_parked_step_stops_its_handler(place: Place) -> None:
    await place.attempt(first=True).step("draft", place.draft, "cats")
    with pytest.raises(HandlerStopped):
        await place.attempt().step("draft", place.draft, "dogs")
    assert place.made == ["cats"]
    assert msgspec.json.decode(place.facts("MessageParked")[0].difference)["place"] == "@draft/0"
