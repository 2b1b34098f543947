"""Agents that ask, killed while they wait for the answer; whom they ask is in ``experts``, which lives on."""

from __future__ import annotations

from typing import Final

from agents_sdk import Agent, Context, Event

EXPERT: Final = "fault_expert"
asker = Agent("fault_asker", workflows=["faults.asking"], max_deliveries=20)


@asker.on("asking.go")
async def ask(ctx: Context, event: Event) -> None:
    """An effect before the request, one of the answer, and a message."""
    await ctx.state.set(f"before.{event.data}", event.data, expected_version=0)
    answer = await ctx.ask(EXPERT, event.data, name="asking.double")
    await ctx.state.set(f"answer.{event.data}", answer, expected_version=0)
    await ctx.publish("asking.done", event.data)
