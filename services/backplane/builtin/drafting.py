"""``text_generation`` without a model: an article made of its sources' best sentences; each paragraph names them.

Deterministic: the same params give the same draft. A revision reads the reviewer's words (``feedback``): the phrases of
FEEDBACK change the plan; whatever the words, sentences in ``avoid`` are not used again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from agents_sdk.core import ids
from backplane.builtin import sentences as ranking
from backplane.builtin import tokens
from backplane.builtin.sentences import Sentence
from backplane.providers.python import ProviderContext
from backplane.recovery.outcome import Answer, ProviderError, Usage

MODEL: Final = "extractive-textrank-1"
TOO_ALIKE: Final = 0.5
"""Share of common words above which a sentence only repeats another."""


LEAD_SENTENCES: Final = 2
PARAGRAPH_TOKENS: Final = 40
"""Marks and names around the text of a paragraph."""
ARTICLE_TOKENS: Final = 60
CPU_SECONDS: Final = 0.25
"""The highest charge for the processor's time."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much to write."""

    sources: int
    sentences: int
    """In each paragraph, at most."""
    lead: bool
    """Open with what several sources say."""


STYLES: Final[dict[str, Plan]] = {
    "brief": Plan(2, 2, False),
    "standard": Plan(3, 3, True),
    "detailed": Plan(6, 4, True),
}
FEEDBACK: Final[tuple[tuple[str, str], ...]] = (
    (r"more sources|another source|further source|broader|cite more", "sources+"),
    (r"fewer sources|narrower|focus", "sources-"),
    (r"longer|more detail|expand|deeper|elaborate", "sentences+"),
    (r"shorter|tighter|concise|cut|trim|too long", "sentences-"),
    (r"introduc|lead|context|opening|overview", "lead+"),
)
"""Phrase in the reviewer's words → what it changes."""


def text_generation(params: Mapping[str, Any], context: ProviderContext) -> Answer:
    """The draft. Raises ProviderError(invalid_request) when the sources hold no usable sentence."""
    sources = _sources(params)
    topic = str(params["topic"])
    plan = plan_of(str(params.get("style") or "standard"), str(params.get("feedback") or ""))
    avoid = {" ".join(str(text).split()) for text in params.get("avoid") or ()}
    pool = [sentence for index, source in enumerate(sources) for sentence in ranking.split(source["text"], index)]
    pool = [sentence for sentence in pool if sentence.text not in avoid][: ranking.MAX_SENTENCES]
    if not pool:
        raise ProviderError(
            "invalid_request", "no sentence of the sources can be used; give sources with prose", code="no_prose"
        )
    weights = dict(zip(pool, ranking.rank(pool, topic, _trust(params)), strict=True))
    summary = max(pool, key=lambda each: (not each.leans, weights[each]))
    paragraphs = compose(sources, weights, plan, summary)
    result = {
        "title": title_of(topic),
        "summary": summary.text,
        "paragraphs": paragraphs,
        "sources": _used(sources, paragraphs),
        "words": sum(len(str(paragraph["text"]).split()) for paragraph in paragraphs),
    }
    usage = Usage(input_tokens=tokens.count(ids.canonical(params)), output_tokens=tokens.count(ids.canonical(result)))
    return Answer(result=result, usage=usage, model=MODEL, prompt_version=ids.sha256(repr((STYLES, FEEDBACK)))[:12])


def usage_at_most(params: Mapping[str, Any]) -> Usage:
    """The most that a draft may use: its longest sentences, as many as the plan has room for, under all its
    headings."""
    sources = _sources(params)
    plan = plan_of(str(params.get("style") or "standard"), str(params.get("feedback") or ""))
    lengths = sorted(
        (
            tokens.count(each.text)
            for index, source in enumerate(sources)
            for each in ranking.split(source["text"], index)
        ),
        reverse=True,
    )
    sentences = sum(lengths[: plan.sources * plan.sentences + LEAD_SENTENCES]) + 2 * sum(lengths[:1])  # and the summary
    cited = sorted((tokens.count(ids.canonical(_cited(source))) for source in sources), reverse=True)
    headings = 2 * sum(cited[: plan.sources + LEAD_SENTENCES])
    around = PARAGRAPH_TOKENS * (plan.sources + 1) + tokens.count(str(params["topic"])) + ARTICLE_TOKENS
    read = tokens.count(ids.canonical(params))
    return Usage(input_tokens=read, output_tokens=sentences + headings + around, cpu_seconds=CPU_SECONDS)


def plan_of(style: str, feedback: str) -> Plan:
    """The style's plan, changed by the reviewer's words."""
    plan = STYLES[style]
    wishes = {wish for phrase, wish in FEEDBACK if re.search(phrase, feedback, re.IGNORECASE)}
    if "sources+" in wishes:
        plan = replace(plan, sources=plan.sources + 2)
    if "sources-" in wishes:
        plan = replace(plan, sources=max(1, plan.sources - 1))
    if "sentences+" in wishes:
        plan = replace(plan, sentences=plan.sentences + 2)
    if "sentences-" in wishes:
        plan = replace(plan, sentences=max(1, plan.sentences - 1))
    return replace(plan, lead=True) if "lead+" in wishes else plan


def compose(
    sources: Sequence[Mapping[str, str]], weights: Mapping[Sentence, float], plan: Plan, summary: Sentence
) -> list[dict[str, Any]]:
    """The paragraphs: a lead from several sources if planned, then one for each of the best sources. Their order is by
    how much their best sentences matter. The summary stands above them and is not repeated, unless it is all there
    is."""
    by_source: dict[int, list[Sentence]] = {}
    for sentence in sorted(weights, key=lambda each: (-weights[each], each.source, each.position)):
        by_source.setdefault(sentence.source, []).append(sentence)
    order = sorted(by_source, key=lambda index: (-sum(weights[each] for each in by_source[index][:3]), index))
    used = [summary]
    paragraphs: list[dict[str, Any]] = []
    if plan.lead and len(order) > 1:
        opening = [chosen for index in order[:3] if (chosen := _first(by_source[index], used)) is not None][:2]
        used += opening
        if opening:
            paragraphs.append(_paragraph("", opening, sources))
    for index in order:
        if sum(bool(paragraph["heading"]) for paragraph in paragraphs) >= plan.sources:
            break
        body = _choose(by_source[index], used, plan.sentences)
        if body:
            used += body
            paragraphs.append(_paragraph(sources[index]["title"], body, sources))
    paragraphs = paragraphs or [_paragraph("", [summary], sources)]
    return [{"id": f"p{number}", **paragraph} for number, paragraph in enumerate(paragraphs, 1)]


def title_of(topic: str) -> str:
    """The topic as a headline: first letter upper-case, no full stop."""
    words = " ".join(topic.split()).rstrip(".")
    return words[:1].upper() + words[1:]


def _first(candidates: Sequence[Sentence], used: Sequence[Sentence]) -> Sentence | None:
    """The best sentence that can stand alone and repeats nothing."""
    return next((each for each in candidates if not each.leans and not _repeats(each, used)), None)


def _choose(candidates: Sequence[Sentence], used: Sequence[Sentence], number: int) -> list[Sentence]:
    """The best sentences in the order of their source; the first of them can stand alone."""
    chosen: list[Sentence] = []
    for candidate in candidates:
        if len(chosen) == number:
            break
        if not _repeats(candidate, [*used, *chosen]):
            chosen.append(candidate)
    chosen.sort(key=lambda each: each.position)
    while chosen and chosen[0].leans:
        chosen.pop(0)
    return [
        each
        for place, each in enumerate(chosen)
        # a leaning sentence stays only right after the one it leans on
        if not each.leans or chosen[place - 1].position == each.position - 1
    ]


def _repeats(candidate: Sentence, used: Sequence[Sentence]) -> bool:
    return any(ranking.alike(candidate, other) > TOO_ALIKE for other in used)


def _paragraph(heading: str, chosen: Sequence[Sentence], sources: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    cited = list(dict.fromkeys(sources[each.source]["id"] for each in chosen))
    return {"heading": heading, "text": " ".join(each.text for each in chosen), "sources": cited}


def _sources(params: Mapping[str, Any]) -> list[dict[str, str]]:
    return [
        {
            "id": str(source["id"]),
            "title": str(source.get("title") or source["id"]),
            "url": str(source.get("url") or ""),
            "text": str(source["text"]),
        }
        for source in params["sources"]
    ]


def _trust(params: Mapping[str, Any]) -> list[float]:
    """How well each source fits, by the search's scores: the best has 1; without scores all have."""
    scores = [max(0.0, float(source.get("score") or 0.0)) for source in params["sources"]]
    best = max(scores)
    return [score / best if best else 1.0 for score in scores]


def _cited(source: Mapping[str, str]) -> dict[str, Any]:
    return {"id": source["id"], "title": source["title"], "url": source["url"], "cited": [source["id"], source["id"]]}


def _used(sources: Sequence[Mapping[str, str]], paragraphs: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    cited = {identity for paragraph in paragraphs for identity in paragraph["sources"]}
    return [
        {"id": source["id"], "title": source["title"], "url": source["url"]}
        for source in sources
        if source["id"] in cited
    ]
