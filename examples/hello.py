"""Two agents and one tool. The first one searches documents, the second one writes a summary of them.

backplane agents run hello.py
backplane start hello --input '{"topic": "event streaming"}' --wait
"""

from agents_sdk import Agent, Context, Event

research = Agent("research_agent", workflows=["hello"], writes=["findings"], capabilities=["document_search"])
writer = Agent("writer_agent", workflows=["hello"], reads=["findings"], writes=["summary"])


@research.on("run.started")
async def investigate(ctx: Context, event: Event) -> None:
    """The run's input is the data of the message ``run.started``."""
    found = await ctx.execute(capability="document_search", params={"query": event.data["topic"], "results": 3})
    await ctx.state.set("findings", found.result["hits"])
    await ctx.publish("search.completed", {"count": len(found.result["hits"])})


@writer.on("search.completed")
async def write(ctx: Context, event: Event) -> None:
    """The message comes after the state that it rests on, so the findings are there."""
    hits = await ctx.state.get("findings")
    await ctx.decide(action="summarise", rationale=f"{len(hits)} sources are enough", context_used=["findings"])
    await ctx.state.set("summary", " · ".join(hit["title"] for hit in hits))
