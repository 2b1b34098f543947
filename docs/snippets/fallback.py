"""A tool with a fallback: the news service is down, so the agent gets documents, or else an empty result."""

from typing import Any

from agents_sdk import Agent, Context, Event

scout = Agent("scout", workflows=["scouting"], writes=["news"], capabilities=["news_search", "document_search"])


@scout.on("run.started")
async def look_up(ctx: Context, event: Event) -> None:
    found = await ctx.execute_with_recovery(
        "news_search",
        {"query": event.data["topic"]},
        config={
            "retry": {"max_attempts": 2, "backoff": "exponential"},
            "fallback": ["document_search"],
            "degraded_result": {"hits": []},
            "timeout_seconds": 30,
        },
    )
    await ctx.state.set("news", {"provider": found.provider, "hits": len(found.result["hits"])})


def news(params: dict[str, Any], context: Any) -> dict[str, Any]:
    """The provider: a service that is down."""
    raise ConnectionError("the news service does not answer")
