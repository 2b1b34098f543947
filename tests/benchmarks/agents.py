"""The agents of round trips and triggers: they take the times themselves, in one process, and give them as the
result of their run.
"""

from __future__ import annotations

import time

from agents_sdk import Agent, Context, Event

_sent: dict[str, float] = {}
"""Run → when its last ball was hit, or its last upstream handler ended."""
_taken: dict[str, list[float]] = {}
"""Run → seconds of its round trips."""

server = Agent("bench_server", workflows=["bench.rally"])
returner = Agent("bench_returner", workflows=["bench.rally"])
asker = Agent("bench_asker", workflows=["bench.asking"])
expert = Agent("bench_expert", workflows=["bench.asking"])
upstream = Agent("bench_upstream", workflows=["bench.trigger"])
downstream = Agent("bench_downstream", workflows=["bench.trigger"])


@server.on("run.started")
async def serve(ctx: Context, event: Event) -> None:
    """Hits the ball for the first time."""
    _taken[ctx.run_id] = []
    _sent[ctx.run_id] = time.perf_counter()
    await ctx.send("bench_returner", "ball", event.data["rounds"])


@returner.on("ball")
async def give_back(ctx: Context, event: Event) -> None:
    """Hits it back."""
    await ctx.send("bench_server", "ball.back", event.data)


@server.on("ball.back")
async def again(ctx: Context, event: Event) -> None:
    """Notes how long it was away, and hits it again until all rounds are played."""
    _taken[ctx.run_id].append(time.perf_counter() - _sent[ctx.run_id])
    if event.data > 1:
        _sent[ctx.run_id] = time.perf_counter()
        await ctx.send("bench_returner", "ball", event.data - 1)
    else:
        await ctx.complete_run(_taken.pop(ctx.run_id))


@asker.on("run.started")
async def ask(ctx: Context, event: Event) -> None:
    """Asks one question after the other."""
    taken = []
    for number in range(event.data["rounds"]):
        began = time.perf_counter()
        await ctx.ask("bench_expert", number)
        taken.append(time.perf_counter() - began)
    await ctx.complete_run(taken)


@expert.on("request")
async def answer(ctx: Context, event: Event) -> int:
    """Knows at once."""
    number: int = event.data
    return number


@upstream.on("run.started", "step")
async def work(ctx: Context, event: Event) -> None:
    """Is done at once; what waits for it is triggered when the ledger has heard so."""
    _sent[ctx.run_id] = time.perf_counter()


@downstream.on("dependency.satisfied")
async def triggered(ctx: Context, event: Event) -> None:
    """Says how long that took."""
    await ctx.complete_run([time.perf_counter() - _sent.pop(ctx.run_id)])
