"""Code changed while runs were in flight: named steps stay where they are, whatever is inserted before them."""

from agents_sdk import Agent, Context, Event

columnist = Agent("columnist", workflows=["column"], writes=["draft", "title"], reads=["style"], on_divergence="park")


@columnist.on("run.started")
async def edit(ctx: Context, event: Event) -> None:
    style = await ctx.named("style").state.get("style")  # inserted later: no other step has moved
    text = f"{event.data['topic']}, in {style or 'plain'} words"
    await ctx.named("draft").state.set("draft", text)
    await ctx.named("title").state.set("title", event.data["topic"].title())
