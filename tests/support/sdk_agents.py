"""Agents that the SDK's contract tests run in processes of their own, by ``backplane agents run``."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from agents_sdk import Agent, Context, Event


class Findings(BaseModel):
    sources: list[str]


story_research = Agent("story_research", reads=["brief"], writes=["research_findings"], workflows=["story"])
story_analysis = Agent("story_analysis", reads=["research_findings"], writes=["article"], workflows=["story"])
steady = Agent("steady", workflows=["steady"])
stuck = Agent("stuck", workflows=["stuck"], handler_timeout_seconds=0.3)
shared = Agent("shared", workflows=["shared"])


@story_research.on("run.started")
async def investigate(ctx: Context, event: Event) -> None:
    brief: Any = await ctx.state.get("brief")
    echoed = await ctx.execute(capability="echo", params={"query": event.data["topic"]})
    await ctx.decide(action="keep_all", rationale="there is one", context_used=["brief"])
    await ctx.state.set("research_findings", Findings(sources=[echoed.result["params"]["query"], brief["tone"]]))
    await ctx.publish("search.completed", {"count": 2})


@story_analysis.on("dependency.satisfied")
async def analyse(ctx: Context, event: Event) -> None:
    findings = await ctx.state.get("research_findings", Findings)
    await ctx.state.set("article", {"text": " and ".join(findings.sources), "after": event.data["depends_on"]})


@shared.on("run.started")
async def sign(ctx: Context, event: Event) -> None:
    """One line for each handling there is: a state key would hide a second one."""
    await asyncio.to_thread(append, Path(event.data["journal"]), f"{ctx.run_id} {os.getpid()}\n")


def append(journal: Path, line: str) -> None:
    with journal.open("a") as opened:
        opened.write(line)


@steady.on("run.started")
async def count(ctx: Context, event: Event) -> None:
    """Ten writes with a pause between them, so that a kill finds it in the middle."""
    for step in range(10):
        await ctx.state.set(f"step.{step}", step, expected_version=0)
        await ctx.decide(f"step {step}")
        await asyncio.sleep(event.data["pause_s"])


@stuck.on("run.started")
async def hang(ctx: Context, event: Event) -> None:
    """Takes its whole process with it, the first time."""
    _hang_once(Path(event.data["marker"]))


def _hang_once(marker: Path) -> None:
    if not marker.exists():
        marker.touch()
        time.sleep(300)  # with the event loop: nothing in this process can stop it


ordered = Agent("ordered", workflows=["ordered"])


@ordered.on("step")
async def in_order(ctx: Context, event: Event) -> None:
    """The first message fails once; its second attempt is in the middle when its process is killed."""
    marker = Path(event.data["journal"]).with_suffix(".hung")
    await asyncio.to_thread(append, Path(event.data["journal"]), f"{event.data['number']}/{event.attempt}\n")
    await ctx.state.set(f"done.{event.data['number']}", True)
    if event.data["number"] == 0 and event.attempt == 1:
        raise ValueError("not at first")
    if event.data["number"] == 0 and not marker.exists():
        marker.touch()
        await asyncio.Event().wait()


local_caller = Agent("local_caller", workflows=["local"], capabilities=["*"])


@local_caller.on("run.started")
async def call_here(ctx: Context, event: Event) -> None:
    """Ends its run with what the call gave."""
    await ctx.complete_run((await ctx.execute(event.data["capability"], event.data["params"])).result)
