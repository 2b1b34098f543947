"""An agent that is run twice, and a pair of which one reads all that the other wrote. Killed in the middle, often."""

from __future__ import annotations

from typing import Final

from agents_sdk import Agent, Context, Event

WORKFLOWS: Final = ["faults.twins"]
twin = Agent("fault_twin", workflows=WORKFLOWS, max_deliveries=20)
source = Agent("fault_source", workflows=["faults.causes"], max_deliveries=20)
sink = Agent("fault_sink", workflows=["faults.causes"], max_deliveries=20)


@twin.on("twin.work")
async def note(ctx: Context, event: Event) -> None:
    """Two effects a delivery: a key that must not be there yet, and a message."""
    await ctx.state.set(f"done.{event.data}", event.delivery_id, expected_version=0)
    await ctx.publish("twin.done", event.data)


@source.on("run.started")
async def write(ctx: Context, event: Event) -> None:
    """The upstream work: as many keys as it is told."""
    await ctx.gather(*(ctx.state.set(f"up.{number}", number) for number in range(event.data)))


@sink.on("dependency.satisfied")
async def read(ctx: Context, event: Event) -> None:
    """Reads each upstream write; how many it found is its result."""
    keys = [f"up.{number}" for number in range(100)]
    found = await ctx.gather(*(ctx.state.get(key) for key in keys))
    await ctx.complete_run([number for number, value in enumerate(found) if value == number])
