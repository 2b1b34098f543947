"""Budgets on the real platform: the ledger holds what a run may spend, the executor what an attempt may cost."""

from __future__ import annotations

import json
from typing import Final

import pytest
from typer.testing import CliRunner

from agents_sdk import (
    Agent,
    AsyncBackplane,
    BudgetExceeded,
    CallFailed,
    CallOverBudget,
    Context,
    Event,
    Settings,
)
from agents_sdk.core.facts import CallEvent, RunEvent
from agents_sdk.history import read_run
from agents_sdk.wire.registry import connect_codec
from backplane.cli.app import app
from backplane.replay.recorded import replay_run
from tests.support.live_agents import own, running

pytestmark = pytest.mark.timeout(300)
SEARCH: Final = {"query": "heat pumps", "results": 1}
"""Of document_search, which costs by the CPU second and may take 30 of them: 0.0004 USD at most."""


async def test_a_call_that_a_run_cannot_pay_for_is_refused_and_says_what_was_left(backplane: AsyncBackplane) -> None:
    """By the ledger, before anything is dispatched; a smaller one goes on."""
    run = await backplane.start_run(own("flow"), complete_when="explicit", budget="0.002 USD")
    with pytest.raises(BudgetExceeded) as refused:
        await run.execute("document_search", SEARCH, budget="0.003 USD")
    fields = ("budget", "asked_nano_usd", "left_nano_usd", "limit_nano_usd")
    assert [refused.value.fields[name] for name in fields] == ["run", 3_000_000, 2_000_000, 2_000_000]
    found = await run.execute("document_search", SEARCH, budget="0.001 USD")
    assert 0 < found.cost_nano_usd < 1_000_000
    await run.complete()


async def test_an_attempt_that_might_cost_more_than_its_call_has_left_is_not_begun(backplane: AsyncBackplane) -> None:
    """By the executor: a failed call and a budget exceeded, in one error; nothing was paid."""
    run = await backplane.start_run(own("flow"), complete_when="explicit")
    with pytest.raises(CallOverBudget) as refused:
        await run.execute("document_search", SEARCH, budget="0.000001 USD")
    assert isinstance(refused.value, BudgetExceeded)
    assert isinstance(refused.value, CallFailed)
    assert refused.value.left_nano_usd == 1_000
    assert refused.value.fields["asked_nano_usd"] > 1_000
    assert (refused.value.fields["error_class"], refused.value.fields["cost_nano_usd"]) == ("quota", 0)
    await run.complete()


async def test_children_draw_on_their_parents_budget_and_give_back_the_rest(
    settings: Settings, backplane: AsyncBackplane
) -> None:
    """Over partitions: slices are reserved at the start, what was spent comes back with the result, and all replays."""
    boss = Agent(own("boss"), workflows=[own("boss")], budget="0.01 USD")
    worker = Agent(own("worker"), workflows=[own("worker")], call_budgets={"document_*": "0.001 USD"})
    flow, below = boss.workflows[0], worker.workflows[0]

    @boss.on("run.started")
    async def delegate(ctx: Context, event: Event) -> None:
        children = [await ctx.start_run(below, number, budget="0.004 USD") for number in range(2)]
        with pytest.raises(BudgetExceeded) as refused:
            await ctx.start_run(below, budget="0.004 USD")
        await ctx.gather(*children)
        left = await ctx.start_run(below, budget="0.004 USD")  # what the first two did not spend is there again
        await left
        await ctx.complete_run(refused.value.fields)

    @worker.on("run.started")
    async def work(ctx: Context, event: Event) -> None:
        await ctx.execute("document_search", SEARCH)

    async with running(settings, boss, worker):
        run = await backplane.start_run(flow, budget="0.02 USD")
        ended = await run.wait(60)
    assert ended.status == "completed", ended.reason
    assert ended.result["budget"] == "agent"
    assert ended.result["left_nano_usd"] == 2_000_000

    facts = read_run(settings, connect_codec(settings), run.id, until_ended_s=10)
    reported = [fact for fact in facts if isinstance(fact, RunEvent) and fact.kind == "ChildEnded"]
    spent = 0
    for child in reported:
        below_facts = read_run(settings, connect_codec(settings), child.child_run_id, until_ended_s=10)
        paid = sum(f.cost_nano_usd for f in below_facts if isinstance(f, CallEvent) and f.kind == "CallCompleted")
        assert child.spent_nano_usd == paid > 0
        spent += paid
        verdict = replay_run(settings, connect_codec(settings), child.child_run_id)
        assert verdict.identical, verdict.difference
    assert len(reported) == 3
    end = facts[-1]
    assert isinstance(end, RunEvent)
    assert (end.spent_nano_usd, end.reserved_nano_usd) == (spent, 0)
    assert replay_run(settings, connect_codec(settings), run.id).identical


def test_a_budget_that_is_none_is_refused_on_the_command_line() -> None:
    """With the amount as it was given, and how to write it; nothing is started."""
    done = CliRunner().invoke(app, ["start", "w", "--budget", "40 cents"])
    assert done.exit_code == 2
    assert "40 cents" in json.dumps(done.output)
