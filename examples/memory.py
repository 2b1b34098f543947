"""Memory that outlives a run. Each run reads the lessons of all runs before it, and adds one.

backplane agents run memory.py
backplane start lessons --input '{"lesson": "short titles work"}' --wait
backplane memory get editorial lessons
"""

from agents_sdk import Agent, Context, Event

editor = Agent(
    "editor",
    workflows=["lessons"],
    reads=["memory/editorial/*"],
    writes=["memory/editorial/*", "known_before"],
)


@editor.on("run.started")
async def learn(ctx: Context, event: Event) -> None:
    memory = ctx.memory("editorial")
    known: list[str] = await memory.get("lessons") or []
    await ctx.state.set("known_before", known)

    lesson: str = event.data["lesson"]

    def with_lesson(lessons: list[str] | None) -> list[str]:
        return sorted({*(lessons or []), lesson})

    # If another run writes in between, ``update`` reads again and applies the change again. No lesson is lost.
    written = await memory.update("lessons", with_lesson)
    await ctx.decide("remember", rationale=f"{len(written.value)} lessons in version {written.version}")
