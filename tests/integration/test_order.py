"""From one sender to one receiver in a run, in the order sent: on the real platform, where handlers fail and die."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from agents_sdk import Agent, AsyncBackplane, Context, Event, Settings
from agents_sdk.history import read_run
from agents_sdk.wire.registry import connect_codec
from tests.support.eventually import assert_eventually
from tests.support.live_agents import Process, own, processes, running

pytestmark = pytest.mark.timeout(120)


async def test_a_message_is_tried_again_before_later_ones_are_begun(
    settings: Settings, backplane: AsyncBackplane
) -> None:
    """Twenty messages to each of ten runs, every third of which fails twice: each is done or given up in its turn."""
    worker = Agent(own("worker"), workflows=[own("w")], max_deliveries=3)
    begun: dict[str, list[tuple[int, int]]] = {}
    count = 20

    @worker.on("step")
    async def step(ctx: Context, event: Event) -> None:
        begun.setdefault(ctx.run_id, []).append((event.data, event.attempt))
        await ctx.state.set(f"done.{event.data}", True)
        if event.data % 3 == 0 and event.attempt < 3:
            raise ValueError("not at first")
        if event.data == count - 1:
            await ctx.complete_run()

    async with running(settings, worker):
        starts = (backplane.start_run(worker.workflows[0], complete_when="explicit") for _ in range(10))
        runs = await asyncio.gather(*starts)
        sent = (run.send(worker.name, "step", number) for number in range(count) for run in runs)
        await asyncio.gather(*sent)
        ends = await asyncio.gather(*(run.wait(60) for run in runs))
    assert {end.status for end in ends} == {"completed"}
    expected = [(number, attempt) for number in range(count) for attempt in range(1, 2 if number % 3 else 4)]
    assert all(begun[run.id] == expected for run in runs)
    codec = await asyncio.to_thread(connect_codec, settings)
    facts = await asyncio.to_thread(read_run, settings, codec, runs[0].id)
    assert [fact.key for fact in facts if fact.kind == "StateWritten"] == [f"done.{n}" for n in range(count)]  # type: ignore[attr-defined]  # the kind says it is a StateEvent


async def test_order_outlives_the_process_that_made_the_first_attempt(
    settings: Settings, backplane: AsyncBackplane, tmp_path: Path
) -> None:
    """Killed in the middle of the second attempt: the next process makes that one again, not the first, and only then
    goes on to what was sent later."""
    journal = tmp_path / "journal"
    first = Process(settings, "ordered", instance="one")
    with processes(first):
        run = await backplane.start_run("ordered", complete_when="explicit")
        for number in range(4):
            await run.send("ordered", "step", {"journal": str(journal), "number": number})

        def hung() -> None:
            assert journal.with_suffix(".hung").exists()

        await asyncio.to_thread(assert_eventually, hung)
        first.end(signal.SIGKILL)
        with processes(Process(settings, "ordered", instance="one")):

            def done() -> None:
                assert journal.read_text().split()[-1] == "3/1"

            await asyncio.to_thread(assert_eventually, done)
            await run.complete()
    assert journal.read_text().split() == ["0/1", "0/2", "0/2", "1/1", "2/1", "3/1"]
