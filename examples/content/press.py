"""Pictures and publishing: two agents, one process. Run them with ``backplane agents run press.py``."""

from __future__ import annotations

from article import Approved, Draft, Findings, Hero, Page

from agents_sdk import Agent, Context, Event

media = Agent(
    "media_agent",
    reads=["draft"],
    writes=["hero"],
    capabilities=["image_generation"],
    workflows=["content"],
)
publisher = Agent(
    "publish_agent",
    reads=["draft", "hero", "research_findings"],
    writes=["page"],
    capabilities=["content_publish"],
    workflows=["content"],
)


@media.on("draft.approved")
async def illustrate(ctx: Context, event: Event) -> None:
    """A hero image with the article's title."""
    version = event.data_as(Approved).version
    draft = await ctx.state.get("draft", Draft, version=version)
    image = await ctx.execute("image_generation", {"prompt": draft.title, "subtitle": draft.summary})
    await ctx.state.set("hero", Hero.model_validate(image.result))


@publisher.on("hero.ready")
async def publish(ctx: Context, event: Event) -> None:
    """The page: the approved draft, its image, and a list of the sources it names."""
    draft = await ctx.state.entry("draft", Draft)
    hero = await ctx.state.get("hero", Hero)
    findings = await ctx.state.get("research_findings", Findings)
    cited = [source for source in findings.sources if source.id in draft.value.cited]
    published = await ctx.execute(
        "content_publish",
        {
            **draft.value.model_dump(),
            "hero": hero.model_dump(),
            "sources": [source.model_dump(include={"id", "title", "url"}) for source in cited],
        },
    )
    await ctx.decide(
        f"publish draft {draft.version}",
        rationale=f"approved, illustrated, {len(cited)} sources named",
        context_used=[f"draft@{draft.version}", "hero"],
    )
    await ctx.state.set("page", Page(**published.result, draft_version=draft.version))
