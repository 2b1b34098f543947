"""A tool of an MCP server as a capability. The agent asks for ``weather`` and knows nothing of MCP.

python weather_server.py 8931 &
backplane capabilities apply manifests/
backplane agents run mcp_tool.py
backplane start packing --input '{"place": "Bern"}' --wait
"""

from agents_sdk import Agent, CallFailed, Context, Event

packer = Agent("packer", workflows=["packing"], writes=["packed"], capabilities=["weather"])


@packer.on("run.started")
async def pack(ctx: Context, event: Event) -> None:
    # For a language model: the same capability as a tool definition of about a hundred tokens.
    (tool,) = ctx.tools("openai", names=["weather"])
    assert tool["function"]["name"] == "weather"
    try:
        weather = await ctx.execute("weather", {"place": event.data["place"]})
    except CallFailed as failed:  # every attempt is on the record, with its cause
        await ctx.decide("pack for any weather", rationale=str(failed))
        await ctx.state.set("packed", ["umbrella", "hat"])
        return
    celsius: float = weather.result["celsius"]
    await ctx.decide("pack", rationale=f"{celsius} degrees are expected")
    await ctx.state.set("packed", ["hat"] if celsius > 20 else ["coat"])
