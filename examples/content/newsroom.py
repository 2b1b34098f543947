"""Research, writing and review: three agents, one process. Run them with ``backplane agents run newsroom.py``."""

from __future__ import annotations

from collections import defaultdict

from article import Approved, Brief, Draft, Findings, Paragraph, Returned, Source, Submitted

from agents_sdk import Agent, Context, Event

research = Agent(
    "research_agent",
    reads=["brief"],
    writes=["research_findings"],
    capabilities=["web_search"],
    workflows=["content"],
)
content = Agent(
    "content_agent",
    reads=["research_findings", "draft"],
    writes=["draft"],
    capabilities=["text_generation"],
    workflows=["content"],
)
review = Agent(
    "review_agent",
    reads=["research_findings", "draft"],
    writes=[],
    publishes=["draft.*"],
    capabilities=[],
    workflows=["content"],
)

MAX_DRAFTS = 2
MIN_WORDS = 120
MIN_SOURCES = 4


@research.on("brief.ready")
async def investigate(ctx: Context, event: Event) -> None:
    """Search for the topic, look around the two best finds, keep what fits best."""
    brief = await ctx.state.get("brief", Brief)
    first = await search(ctx, brief.topic)
    more = await ctx.gather(*(search(ctx, f"{hit.title} {brief.topic}") for hit in first[:2]))
    found = ranked(first, *more)
    if not found:
        await ctx.fail_run(f"no document is about “{brief.topic}”")
        return
    kept = found[: brief.sources]
    await ctx.decide(
        f"keep {len(kept)} of {len(found)} documents",
        rationale=f"they stand highest in {1 + len(more)} searches",
        context_used=["brief"],
    )
    await ctx.state.set("research_findings", Findings(topic=brief.topic, sources=kept))


async def search(ctx: Context, query: str) -> list[Source]:
    answer = await ctx.execute("web_search", {"query": query, "results": 8})
    return [Source.model_validate(hit) for hit in answer.result["hits"]]


def ranked(*searches: list[Source]) -> list[Source]:
    """All that was found, once each: highest what stands high in many searches (their scores cannot be compared)."""
    found: dict[str, Source] = {}
    merit: defaultdict[str, float] = defaultdict(float)
    for hits in searches:
        for place, hit in enumerate(hits, 1):
            found.setdefault(hit.id, hit)
            merit[hit.id] += 1 / place
    ordered = sorted(found, key=lambda each: (-merit[each], each))
    return [found[each].model_copy(update={"score": merit[each]}) for each in ordered]


@content.on("findings.ready")
async def write(ctx: Context, event: Event) -> None:
    """A first draft, short."""
    await submit(ctx, style="brief")


@content.on("draft.returned")
async def rewrite(ctx: Context, event: Event) -> None:
    """Another draft, with what the reviewer misses in it."""
    returned = event.data_as(Returned)
    await submit(ctx, style="standard", feedback="; ".join(returned.notes))


async def submit(ctx: Context, style: str, feedback: str = "") -> None:
    findings = await ctx.state.get("research_findings", Findings)
    answer = await ctx.execute(
        "text_generation",
        {
            "topic": findings.topic,
            "sources": [source.model_dump() for source in findings.sources],
            "style": style,
            "feedback": feedback,
        },
    )
    draft = Draft.model_validate(answer.result).numbered()
    await ctx.decide(
        f"write {len(draft.paragraphs)} paragraphs from {len(draft.cited)} sources",
        rationale="the reviewer's notes" if feedback else "a short draft shows soonest what is missing",
        context_used=["research_findings"],
    )
    version = await ctx.state.set("draft", draft)
    await ctx.send("review_agent", "draft.submitted", Submitted(version=version))


@review.on("draft.submitted")
async def check(ctx: Context, event: Event) -> None:
    """Send the draft back with notes, or let it pass."""
    version = event.data_as(Submitted).version
    draft = await ctx.state.get("draft", Draft, version=version)
    findings = await ctx.state.get("research_findings", Findings)
    notes = missing(draft, len(findings.sources))
    if notes and version < MAX_DRAFTS:
        await ctx.decide(f"return draft {version}", rationale="; ".join(notes), context_used=[f"draft@{version}"])
        await ctx.send("content_agent", "draft.returned", Returned(version=version, notes=notes))
    else:
        why = f"the last draft there is time for; still: {'; '.join(notes)}" if notes else "nothing is missing"
        await ctx.decide(f"approve draft {version}", rationale=why, context_used=[f"draft@{version}"])
        await ctx.publish("draft.approved", Approved(version=version))


def missing(draft: Draft, available: int) -> list[str]:
    """The house rules that a draft breaks; no rule asks for more sources than were found."""
    notes = []
    if draft.words < MIN_WORDS:
        notes.append(f"write more detail: {draft.words} words, not {MIN_WORDS}")
    if len(draft.cited) < min(MIN_SOURCES, available):
        notes.append(f"use more sources: {len(draft.cited)} of {available}")
    if available > 1 and not any(opens(paragraph) for paragraph in draft.paragraphs[:1]):
        notes.append("open with an overview")
    return notes


def opens(paragraph: Paragraph) -> bool:
    """An overview has no heading, or draws on several sources."""
    return not paragraph.heading or len(paragraph.sources) > 1
