"""Agents that ask each other. The author asks the checker about each claim, and waits for the answers side by side.

backplane agents run ask.py
backplane start review --input '{"claims": ["water is wet", "the moon is cheese"]}' --wait
"""

from agents_sdk import Agent, Context, Event, RequestExpired, RequestFailed

author = Agent("author", workflows=["review"], writes=["verdicts"])
checker = Agent("checker", workflows=["review"])


async def verdict(ctx: Context, claim: str) -> str:
    try:
        holds: bool = await ctx.ask("checker", {"claim": claim}, name="check", timeout=30)
    except RequestExpired:
        return "no answer in time"
    except RequestFailed as failed:
        return f"the checker failed: {failed}"
    return "holds" if holds else "does not hold"


@author.on("run.started")
async def review(ctx: Context, event: Event) -> None:
    claims: list[str] = event.data["claims"]
    answers = await ctx.gather(*(verdict(ctx, claim) for claim in claims))
    await ctx.state.set("verdicts", dict(zip(claims, answers, strict=True)))


@checker.on("check")
async def check(ctx: Context, event: Event) -> bool:
    """The return value is the answer to the request."""
    return "cheese" not in event.data["claim"]
