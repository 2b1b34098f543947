"""What an author's type checker sees of the SDK: each line that is wrong says so, and no other line is an error."""

from __future__ import annotations

from typing import assert_type

from agents_sdk import Agent, AsyncBackplane, Context, Event
from agents_sdk.errors import Refused

agent = Agent("researcher", reads=["topic"], writes=["findings"], capabilities=["web_search"])
Agent("researcher", raeds=["topic"])  # type: ignore[call-arg]
Agent(3)  # type: ignore[arg-type]


@agent.on("run.started")
async def investigate(ctx: Context, event: Event) -> None:
    """A handler."""
    found = await ctx.execute(capability="web_search", params={"query": "kafka"})
    await ctx.state.set("findings", found.result)
    assert_type(ctx.run_id, str)
    await ctx.execute(7)  # type: ignore[arg-type]
    ctx.no_such_verb()  # type: ignore[attr-defined]


async def start() -> None:
    """A client."""
    async with AsyncBackplane.connect() as backplane:
        run = await backplane.start_run("content", {"topic": "kafka"})
        assert_type(run.id, str)
        try:
            await run.wait(timeout=30)
        except Refused as error:
            assert_type(error.code, str)
