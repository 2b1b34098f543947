"""Articles as text and HTML: the name in an address, paragraphs, sources. Pure.

Templates of manifests and the built-in publisher both use it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, Final

import nh3
from markdown_it import MarkdownIt
from markupsafe import Markup, escape

SLUG_CHARS: Final = 60
RUN_CHARS: Final = 6
"""Of a run's id, at its end, where uuid7 is random."""
LINK_SCHEMES: Final = ("http://", "https://", "file://")
TAGS: Final = {"p", "em", "strong", "a", "code", "pre", "ul", "ol", "li", "blockquote", "h2", "h3", "h4", "br", "hr"}


def slug_for(article: Mapping[str, Any], run_id: str) -> str:
    """The article's name in its address: its own slug, else its title and the end of the run's id. So articles of two
    runs never take each other's place, however long their titles."""
    if article.get("slug"):
        return slug_of(str(article["slug"]))
    run = slug_of(run_id[-RUN_CHARS:])
    return f"{slug_of(str(article['title']))[: SLUG_CHARS - len(run) - 1].strip('-')}-{run}"


def body_of(article: Mapping[str, Any]) -> str:
    """The article's paragraphs and sources as HTML, for systems that have title and layout of their own. The author's
    words are sanitised, everything else is escaped."""
    sources = [source_of(source) for source in article.get("sources") or ()]
    numbers = {source["id"]: number for number, source in enumerate(sources, 1)}
    parts: list[str] = []
    for place, given in enumerate(paragraphs_of(article), 1):
        paragraph = paragraph_of(given, place, numbers)
        heading = f"<h2>{escape(paragraph['heading'])}</h2>" if paragraph["heading"] else ""
        parts.append(f"{heading}{paragraph['html']}")
    items = [
        Markup('<li id="source-{}">{}</li>').format(
            numbers[source["id"]],
            Markup('<a href="{}">{}</a>').format(source["link"], source["title"])
            if source["link"]
            else source["title"],
        )
        for source in sources
    ]
    return "\n".join([*parts, *(["<ol>", *items, "</ol>"] if items else [])])


def slug_of(text: str) -> str:
    """The text as one folder name: a-z, 0-9 and hyphens. "page" when nothing is left of it."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:SLUG_CHARS].strip("-") or "page"


def html_of(markdown: str) -> str:
    """Markdown as HTML that holds nothing but text, structure and harmless links."""
    rendered = MarkdownIt("commonmark", {"html": False}).render(markdown)
    return nh3.clean(rendered, tags=TAGS, url_schemes={"http", "https"}, link_rel="noopener").strip()


def paragraphs_of(params: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    if params.get("paragraphs"):
        return list(params["paragraphs"])
    return [{"text": str(params.get("markdown") or "")}]


def paragraph_of(paragraph: Mapping[str, Any], place: int, numbers: Mapping[str, int]) -> dict[str, Any]:
    cited = [str(identity) for identity in paragraph.get("sources") or ()]
    marks = "".join(
        f'<sup><a href="#source-{numbers[identity]}">{numbers[identity]}</a></sup>'
        for identity in cited
        if identity in numbers
    )
    html = html_of(str(paragraph["text"]))
    if html.endswith("</p>"):
        html = html.removesuffix("</p>") + marks + "</p>"
    else:
        html += f"<p>{marks}</p>" if marks else ""
    return {
        "id": slug_of(str(paragraph.get("id") or f"p{place}")),
        "heading": str(paragraph.get("heading") or ""),
        "html": Markup(html),  # noqa: S704  # sanitised by html_of; the marks hold only numbers
        "sources": [{"id": identity} for identity in cited],
    }


def source_of(source: Mapping[str, Any]) -> dict[str, str]:
    url = str(source.get("url") or "")
    return {
        "id": str(source["id"]),
        "title": str(source.get("title") or source["id"]),
        "link": url if url.startswith(LINK_SCHEMES) else "",
    }
