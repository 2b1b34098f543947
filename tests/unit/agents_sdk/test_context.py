"""A handler's commands have the same ids each time it runs, whoever is faster."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from agents_sdk.context import Context, HandlerStopped, attempt_of
from agents_sdk.core import ids
from agents_sdk.core.commands import Command
from agents_sdk.core.facts import MessageEvent, Reply
from agents_sdk.core.ids import CommandId, DeliveryId, RunId
from agents_sdk.errors import CallFailed, InvalidCommand, Oversize, ScopeDenied

DELIVERY = MessageEvent(
    event_id="0d6d1b16-7a1c-5a8e-9e0b-6a3b6b8a7c11",
    kind="MessageDelivered",
    run_id=RunId("run-1"),
    run_seq=2,
    correlation_id="corr-1",
    causation_id="",
    agent="client",
    at=0,
    command_id=CommandId(""),
    command_offset=0,
    name="run.started",
    delivery_id=DeliveryId("b7c0a3a0-0b1e-5a55-8a70-0c1f5f0b7a10"),
    recipient="research",
    attempt=2,
)


class Answers:
    """The ledger's side: answers every command after a random moment, in any order."""

    client_id = "client-1"
    reply_partition = 3
    max_value_bytes = 100

    def __init__(self, seed: int = 0, **reply: Any) -> None:
        self.sent: list[Command] = []
        self._random = random.Random(seed)
        self._reply = {"status": "ok", "value": "1", **reply}

    async def request(self, command: Command, timeout: float | None) -> Reply:
        self.sent.append(command)
        for _ in range(self._random.randrange(5)):
            await asyncio.sleep(0)
        return Reply(command_id=command.command_id, reply_to=self.client_id, **self._reply)

    def send(self, command: Command) -> None:
        self.sent.append(command)

    @property
    def artifacts(self) -> Any:
        raise AssertionError("no file is kept in these tests")


def numbered(*names: str) -> list[str]:
    return [ids.derive(DELIVERY.delivery_id, name) for name in names]


async def handled(handler: Callable[[Context], Awaitable[Any]], answers: Answers) -> dict[str, str]:
    """Command id → what it was, of one run of the handler."""
    await handler(Context(answers, "research", DELIVERY))
    return {command.command_id: described(command) for command in answers.sent}


def described(command: Command) -> str:
    return f"{command.kind} {command.state.key if command.state else ''}".strip()


async def test_ids_derive_from_the_delivery_and_the_place_of_the_call() -> None:
    """0, 1, 2… in the order of the calls; the envelope is the delivery's."""
    answers = Answers()
    ctx = Context(answers, "research", DELIVERY)
    await ctx.state.set("a", 1)
    await ctx.publish("x.y")
    await ctx.decide("keep", "why", ["a"])

    assert [command.command_id for command in answers.sent] == numbered("0", "1", "2")
    first = answers.sent[0]
    assert (first.run_id, first.agent, first.correlation_id) == ("run-1", "research", "corr-1")
    assert (first.causation_id, first.delivery_id) == (DELIVERY.event_id, DELIVERY.delivery_id)
    assert (first.reply_to, first.reply_partition) == ("client-1", 3)


async def test_ids_are_taken_when_the_call_is_made_not_when_it_is_awaited() -> None:
    """So that asyncio.gather over calls is deterministic."""
    answers = Answers()
    ctx = Context(answers, "research", DELIVERY)
    first, second = ctx.state.get("first"), ctx.state.get("second")
    await second
    await first

    assert {command.state.key: command.command_id for command in answers.sent if command.state} == dict(
        zip(("first", "second"), numbered("0", "1"), strict=True)
    )


@pytest.mark.parametrize("seed", range(20))
async def test_gathered_coroutines_have_ids_of_their_own_order(seed: int) -> None:
    """However the answers come, each branch, nested ones too, counts for itself."""

    async def handler(ctx: Context) -> None:
        async def branch(name: str) -> None:
            await ctx.state.get(f"{name}.0")
            await ctx.gather(leaf(f"{name}.1.0"), leaf(f"{name}.1.1"))
            await ctx.state.get(f"{name}.2")

        async def leaf(name: str) -> None:
            await ctx.state.get(f"{name}.a")
            await ctx.state.get(f"{name}.b")

        await ctx.state.get("before")
        await ctx.gather(branch("left"), branch("right"), ctx.state.get("plain"))
        await ctx.state.get("after")

    expected = await handled(handler, Answers(0))
    assert len(expected) == 3 + 2 * (2 + 4)
    assert await handled(handler, Answers(seed)) == expected


async def test_gather_gives_results_in_order_and_raises_the_first_error_in_order() -> None:
    """Not the first in time, which chance decides; and only when all have ended."""
    ctx = Context(Answers(), "research", DELIVERY)
    ended = []

    async def fails(name: str, steps: int) -> int:
        for _ in range(steps):
            await asyncio.sleep(0)
        ended.append(name)
        raise KeyError(name)

    assert await ctx.gather(ctx.state.get("a"), ctx.state.set("b", 1)) == (1, 0)
    with pytest.raises(KeyError, match="slow"):
        await ctx.gather(fails("slow", 9), fails("fast", 1))

    assert ended == ["fast", "slow"]


async def test_call_from_a_task_of_ones_own_is_refused() -> None:
    """Its place in the order would be chance, and a redelivered handler be given another call's answer."""
    ctx = Context(Answers(), "research", DELIVERY)

    async def own() -> None:
        await ctx.state.get("a")

    with pytest.raises(RuntimeError, match=r"ctx\.gather"):
        await asyncio.create_task(own())


async def test_settled_delivery_stops_the_handler_past_its_own_excepts() -> None:
    """Somebody else has handled it: nothing more may be done here."""
    ctx = Context(Answers(status="refused", code="delivery_settled"), "research", DELIVERY)

    async def careless() -> None:
        with contextlib.suppress(Exception):
            await ctx.gather(ctx.state.set("a", 1), ctx.state.set("b", 1))

    with pytest.raises(HandlerStopped):
        await careless()


async def test_refusals_reach_the_author_typed() -> None:
    """With the fields of the fact."""
    ctx = Context(Answers(status="refused", code="scope", detail='{"rule":"writes"}'), "research", DELIVERY)

    with pytest.raises(ScopeDenied) as refused:
        await ctx.state.set("a", 1)

    assert refused.value.fields["rule"] == "writes"


async def test_oversize_value_is_refused_by_the_call_and_takes_no_number() -> None:
    """Nothing was sent, so nothing counts."""
    answers = Answers()
    ctx = Context(answers, "research", DELIVERY)

    with pytest.raises(Oversize):
        _ = ctx.state.set("a", "x" * 100)
    await ctx.state.set("a", "x")

    assert [command.command_id for command in answers.sent] == numbered("0")


async def test_call_result_carries_provider_cost_and_latency() -> None:
    """In the units of its docstring."""
    detail = '{"provider":"p","attempts":2,"cost_nano_usd":5,"latency_us":1500,"degraded":true}'
    ctx = Context(Answers(value='{"hits":[]}', detail=detail), "research", DELIVERY)

    found = await ctx.execute(capability="web_search", params={"query": "q"}, timeout_seconds=2.5)

    assert (found.result, found.provider, found.attempts) == ({"hits": []}, "p", 2)
    assert (found.cost_nano_usd, found.latency_ms, found.degraded) == (5, 1.5, True)
    assert [found.call_id] == numbered("0")


async def test_failed_call_says_what_was_tried() -> None:
    """The fields are those of the outcome."""
    detail = '{"provider":"p","attempts":3,"cost_nano_usd":7,"latency_us":1,"error_class":"rate_limited"}'
    ctx = Context(Answers(status="failed", code="http_429", message="slow down", detail=detail), "research", DELIVERY)

    with pytest.raises(CallFailed, match="slow down") as failed:
        await ctx.execute("web_search", {"query": "q"})

    assert failed.value.fields["error_class"] == "rate_limited"
    assert failed.value.fields["error_code"] == "http_429"
    assert failed.value.fields["attempts"] == 3
    assert failed.value.fields["capability"] == "web_search"


async def test_what_a_call_asks_of_recovery_goes_along_as_canonical_json() -> None:
    """Only what was given; the time limit has a field of its own."""
    answers = Answers(value="{}", detail="{}")
    ctx = Context(answers, "research", DELIVERY)
    config = {
        "retry": {"max_attempts": 2, "backoff": "linear"},
        "degraded_result": {"b": 1, "a": 2},
        "timeout_seconds": 3,
    }

    await ctx.execute_with_recovery("web_search", {"query": "q"}, config)
    await ctx.execute_with_recovery("web_search", {"query": "q"})

    asked, plain = (command.call for command in answers.sent)
    assert asked is not None
    assert plain is not None
    assert asked.config == '{"degraded_result":{"a":2,"b":1},"retry":{"backoff":"linear","max_attempts":2}}'
    assert (asked.timeout_ms, plain.config, plain.timeout_ms) == (3_000, "", 0)


async def test_the_rank_of_a_call_is_its_config() -> None:
    """And one that there is not is refused before anything is sent."""
    answers = Answers(value="{}", detail="{}")
    ctx = Context(answers, "research", DELIVERY)

    await ctx.execute("web_search", {"query": "q"}, rank="cheapest")
    with pytest.raises(InvalidCommand) as refused:
        await ctx.execute("web_search", {"query": "q"}, rank="dearest")  # type: ignore[arg-type]  # wrong on purpose

    assert [command.call.config for command in answers.sent if command.call] == ['{"rank":"cheapest"}']
    assert refused.value.fields["field"] == "config.rank"


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"retry": {"max_attempts": 0}}, "config.retry.max_attempts"),
        ({"retry": {"max_attempts": "3"}}, "config.retry.max_attempts"),
        ({"retry": {"backoff": "eventual"}}, "config.retry.backoff"),
        ({"retry": 3}, "config.retry"),
        ({"retrys": {}}, "config.retrys"),
        ({"timeout_seconds": 0}, "config.timeout_seconds"),
        ({"timeout_seconds": float("nan")}, "config.timeout_seconds"),
        ({"degraded_result": object()}, "config"),
        ([], "config"),
    ],
)
async def test_a_config_that_is_none_is_refused_before_anything_is_sent(config: object, field: str) -> None:
    """The error names the field."""
    answers = Answers()

    with pytest.raises(InvalidCommand) as refused:
        await Context(answers, "research", DELIVERY).execute_with_recovery("web_search", {}, config)  # type: ignore[arg-type]  # wrong on purpose

    assert refused.value.fields["field"] == field
    assert answers.sent == []


async def test_a_named_step_has_the_id_of_its_name_in_any_task() -> None:
    """What comes before or beside it does not count, and counted steps do not count it."""
    answers = Answers()
    ctx = Context(answers, "research", DELIVERY)
    await ctx.state.get("first")
    await asyncio.create_task(ctx.named("draft").state.set("k", 1))
    await ctx.named("draft").state.set("k", 2)
    await ctx.named("a/b").named("c").state.get("k")
    await ctx.execute("search", name="look")
    await ctx.state.get("second")
    steps = ["0", "@draft/0", "~2@draft/0", "@a%2Fb/@c/0", "@look/0", "1"]
    assert [command.step for command in answers.sent] == steps
    assert [command.command_id for command in answers.sent] == numbered(*steps)
    assert len(attempt_of(ctx).asked) == 6
    for name in ("", "x" * 201):
        with pytest.raises(ValueError, match="the name of a step"):
            ctx.named(name)


async def test_after_a_restart_no_id_is_one_of_before() -> None:
    """Memories in other partitions keep the answers of before under their ids."""
    answers = Answers()
    restarted = msgspec.structs.replace(DELIVERY, restarts=2)
    ctx = Context(answers, "research", restarted)
    await ctx.state.get("k")
    await ctx.memory("shelf").get("k")
    assert [command.step for command in answers.sent] == ["0", "1"]
    assert [command.command_id for command in answers.sent] == numbered("restart/2/0", "restart/2/1")
    assert len(attempt_of(ctx).asked) == 1, "of its own run"


@pytest.mark.parametrize(("rules", "step"), [(4, "@call-7/0"), (0, "0")])
async def test_a_tool_call_is_named_by_its_own_id(rules: int, step: str) -> None:
    """In runs by rules of before it has its place, as its first attempt had."""
    answers = Answers()
    ctx = Context(answers, "research", msgspec.structs.replace(DELIVERY, rules=rules))
    await ctx.call_tool({"type": "tool_use", "id": "call-7", "name": "search", "input": {}})
    assert [command.step for command in answers.sent] == [step]


async def test_a_divergence_stops_the_handler_and_all_that_it_wants_to_send() -> None:
    """Nothing more leaves the process, whatever the handler catches."""
    answers = Answers(status="refused", code="diverged", message="other", detail='{"difference":{"place":"0"}}')
    ctx = Context(answers, "research", DELIVERY)
    for key in ("first", "second"):
        with pytest.raises(HandlerStopped):
            await ctx.state.set(key, 1)
    with pytest.raises(HandlerStopped):
        await ctx.named("other").memory("shelf").get("k")
    assert len(answers.sent) == 1
    diverged = attempt_of(ctx).diverged
    assert diverged is not None
    assert diverged.difference == {"place": "0"}
