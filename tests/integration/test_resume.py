"""A run goes on after its end, on the real platform: attempts that back off, ``cancel``, ``resume``, ``dlq discard``,
and a record that nothing changes once it has ended."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from agents_sdk import Agent, AsyncBackplane, Context, Event, InvalidCommand, Retry, RunFinished, Settings, Unanswered
from agents_sdk.core.facts import Fact
from agents_sdk.history import read_run
from agents_sdk.resume import resumed_as
from agents_sdk.wire.registry import connect_codec
from backplane.cli.app import run as backplane_cli
from backplane.insight.answers import runs, timeline
from backplane.store.queries import connect_store, query
from tests.support.eventually import assert_eventually
from tests.support.live_agents import own, running

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def cli(settings: Settings, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Runs a ``backplane`` command; its exit code and the JSON it prints."""

    def run(*arguments: str) -> tuple[int, Any]:
        capsys.readouterr()
        code = backplane_cli([*arguments, "--data-dir", str(settings.data_dir)])
        printed = capsys.readouterr()
        return code, json.loads(printed.out) if printed.out.startswith(("[", "{")) else printed.out + printed.err

    return run


def facts_of(settings: Settings, run_id: str) -> list[Any]:
    found: list[Fact] = read_run(settings, connect_codec(settings), run_id, until_ended_s=10)
    return found


async def test_a_failed_run_is_resumed_from_its_failed_delivery(settings: Settings, cli: Callable[..., Any]) -> None:
    """Attempts back off, the run fails with a traceback on the record; mended, it goes on in a run that names it, with
    its state and without what was done."""
    flow = own("flow")
    planner = Agent(f"{flow}-planner", workflows=[flow])
    writer = Agent(f"{flow}-writer", workflows=[flow], retry=Retry(attempts=2, initial_seconds=0.3, jitter=0))
    mended = False
    handled: list[str] = []

    @planner.on("run.started")
    async def plan(ctx: Context, event: Event) -> None:
        handled.append("plan")
        await ctx.state.set("plan", {"parts": 2})
        await ctx.publish("plan.ready")

    @writer.on("plan.ready")
    async def write(ctx: Context, event: Event) -> None:
        handled.append("write")
        if not mended:
            raise ValueError("the printer is on fire")
        await ctx.state.set("draft", (await ctx.state.get("plan"))["parts"])

    async with AsyncBackplane.connect(settings) as backplane, running(settings, planner, writer):
        going = await backplane.start_run(own("going"), complete_when="explicit")
        with pytest.raises(InvalidCommand, match="has not ended"):
            await backplane.resume_run(going.id)
        run = await backplane.start_run(flow)
        assert (await run.wait(60)).status == "failed"
        mended = True
        code, told = await asyncio.to_thread(cli, "resume", run.id, "--wait", "--json")
        assert (code, told["status"], told["resumed_from"]) == (0, "completed", run.id)
        assert told["run_id"] == resumed_as(run.id)
        again = await backplane.resume_run(run.id)
        assert again.id == told["run_id"], "it is resumed once"
        assert await again.state.get("draft") == 2

    assert handled == ["plan", "write", "write", "write"]
    old, new = facts_of(settings, run.id), facts_of(settings, told["run_id"])
    first, second = [fact for fact in old if fact.kind == "HandlerFailed"]
    assert second.at - first.at >= 300_000
    assert "the printer is on fire" in first.traceback
    assert "in write" in first.traceback
    new = [fact for fact in new if fact.run_seq]  # what a client said before the platform knew it is in no record
    assert (new[0].resumed_from, new[0].causation_id) == (run.id, old[-1].event_id)
    assert [(fact.key, fact.version) for fact in new if fact.kind == "StateWritten"] == [("plan", 1), ("draft", 1)]
    code, explained = await asyncio.to_thread(cli, "explain", run.id, "--json")
    assert f"`backplane resume {run.id}`" in " ".join(explained["next_steps"])
    assert "the printer is on fire" in explained["tried"][0]["traceback"]


async def test_cancel_ends_a_run_and_its_record_stays_as_it_is(settings: Settings, cli: Callable[..., Any]) -> None:
    """Whatever is asked of it afterwards: no figure of it changes, its state is readable, and nothing is left open."""
    flow = own("flow")
    agent = Agent(flow, workflows=[flow])

    @agent.on("run.started")
    async def wait(ctx: Context, event: Event) -> None:
        await ctx.state.set("k", 1)
        await ctx.ask(flow, name="more", timeout=None) if event.data == "ask" else await asyncio.Event().wait()

    async with AsyncBackplane.connect(settings) as backplane, running(settings, agent):
        run = await backplane.start_run(flow)
        with pytest.raises(Unanswered, match=f"run {run.id} has not ended in the time allowed; it goes on"):
            await run.wait(0.1)
        await asyncio.to_thread(assert_eventually, lambda: asyncio.run(_written(settings, run.id)))
        code, told = await asyncio.to_thread(cli, "cancel", run.id, "--reason", "not needed", "--json")
        assert (code, told["status"]) == (0, "cancelled")
        assert (await run.wait(30)).said == "not needed"
        store = connect_store(settings)

        def settled() -> Any:
            (row,) = runs(store, 1, run.id)
            assert row.status == "cancelled"
            return row

        before = await asyncio.to_thread(assert_eventually, settled)
        for late in (
            run.state.set("k", 2),
            run.cancel("again"),
            run.publish("a.b"),
            run.execute("text_generation", {"prompt": "x"}),
        ):
            with pytest.raises(RunFinished, match="has ended"):
                await late
        assert await run.state.get("k") == 1
        assert [listed.key for listed in await run.state.list()] == ["k"]
        marker = await backplane.start_run(own("marker"))
        await marker.cancel("seen")

    def caught_up() -> None:
        sql = "SELECT count() FROM events WHERE kind = 'CommandRefused' AND about_run_id = {run:String}"
        counted = query(store, sql, {"run": run.id}).result_rows
        assert counted[0][0] >= 4

    await asyncio.to_thread(assert_eventually, caught_up)
    assert runs(store, 1, run.id) == [before]
    assert before.facts == before.last_seq == len(timeline(store, run.id))
    sql = "SELECT count() FROM v_messages WHERE status = 'open' AND run_id = {run:String}"
    open_ = query(store, sql, {"run": run.id}).result_rows
    assert open_[0][0] == 0
    code, told = await asyncio.to_thread(cli, "cancel", run.id)
    assert (code, "has ended" in told) == (7, True)


async def _written(settings: Settings, run_id: str) -> bool:
    async with AsyncBackplane.connect(settings) as backplane:
        assert await backplane.run(run_id).state.get("k") == 1
    return True


async def test_a_dead_letter_is_given_up_for_a_reason(settings: Settings, cli: Callable[..., Any]) -> None:
    """Listed no more, though its run has ended, whose record does not change; the reason is a fact."""
    flow = own("flow")
    agent = Agent(flow, workflows=[flow], max_deliveries=1)

    @agent.on("run.started")
    async def fail(ctx: Context, event: Event) -> None:
        raise ValueError("no")

    async with AsyncBackplane.connect(settings) as backplane, running(settings, agent):
        run = await backplane.start_run(flow)
        assert (await run.wait(30)).status == "failed"

    def listed() -> Any:
        return cli("dlq", "list", "--run", run.id, "--json")[1]

    await asyncio.to_thread(assert_eventually, lambda: _one(listed()))
    code, told = await asyncio.to_thread(cli, "dlq", "discard", "--run", run.id)
    assert (code, "--reason" in told) == (2, True)
    code, rows = await asyncio.to_thread(cli, "dlq", "discard", "--run", run.id, "--reason", "a test", "--json")
    assert (code, [row["done"] for row in rows]) == (0, ["discarded"])
    await asyncio.to_thread(assert_eventually, lambda: _none(listed()))
    assert facts_of(settings, run.id)[-1].kind == "RunFailed"


def _one(rows: Any) -> bool:
    assert len(rows) == 1
    return True


def _none(rows: Any) -> bool:
    assert rows == []
    return True
