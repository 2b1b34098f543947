"""Waiting for several: the editor begins when both reporters are done, in whatever order they end."""

from agents_sdk import Agent, AsyncBackplane, Context, Event

north = Agent("north_reporter", workflows=["report"], writes=["north"])
south = Agent("south_reporter", workflows=["report"], writes=["south"])
editor_in_chief = Agent("editor_in_chief", workflows=["report"], reads=["north", "south"], writes=["front_page"])


@north.on("report.wanted")
async def report_north(ctx: Context, event: Event) -> None:
    await ctx.state.set("north", "snow")


@south.on("report.wanted")
async def report_south(ctx: Context, event: Event) -> None:
    await ctx.state.set("south", "sun")


@editor_in_chief.on("dependency.satisfied")
async def compose(ctx: Context, event: Event) -> None:
    """Everything that the dependency waited for is there."""
    found = await ctx.state.get_many(["north", "south"])
    await ctx.state.set("front_page", f"north: {found['north']}, south: {found['south']}")


async def start() -> str:
    """Starts a run. Its editor waits before the reporters begin. Returns the id of the run."""
    async with AsyncBackplane.connect(name="newsroom") as backplane:
        run = await backplane.start_run("report")
        await run.declare_dependency("editor_in_chief", ["north_reporter", "south_reporter"], deadline_seconds=60)
        await run.publish("report.wanted")
        return run.id
