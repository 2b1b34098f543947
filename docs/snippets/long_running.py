"""Long-running work: a child run for each step, deadlines, and retries that survive a restart."""

from agents_sdk import Agent, ChildFailed, Context, Event, Retry

planner = Agent("planner", workflows=["campaign"], writes=["outcome"], starts=["translation_step"])
step = Agent(
    "step_worker",
    workflows=["translation_step"],
    writes=["attempts"],
    reads=["attempts"],
    handler_timeout_seconds=600,
    retry=Retry(attempts=5, initial_seconds=0.2, max_seconds=60),
)


@planner.on("run.started")
async def plan(ctx: Context, event: Event) -> None:
    child = await ctx.start_run("translation_step", {"language": "fr"}, deadline_seconds=24 * 3600)
    try:
        outcome = await child  # hours may pass, and this process may be restarted in between
    except ChildFailed as failed:
        await ctx.state.set("outcome", f"given up: {failed}")
        return
    await ctx.state.set("outcome", outcome.result)


@step.on("run.started")
async def translate(ctx: Context, event: Event) -> None:
    """Fails once; the second attempt gets the recorded answers of the first one, and goes on."""
    attempts = await ctx.state.update("attempts", lambda before: (before or 0) + 1, int)
    if event.attempt == 1:
        raise ConnectionError("the translator is busy")
    await ctx.complete_run({"language": event.data["language"], "writes": attempts.value})
