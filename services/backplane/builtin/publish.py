"""``content_publish`` to a static site below the data directory: Markdown → sanitised HTML → one page per slug.

Idempotent: the same params give the same bytes at the same place. Nothing of the author's reaches the page unsanitised.
Text is Markdown without raw HTML, cleaned by nh3 again; the template escapes everything else.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import nh3
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup, escape

from agents_sdk.artifacts import ArtifactStore
from backplane.builtin.files import write_whole
from backplane.providers.python import ProviderContext
from backplane.recovery.outcome import ProviderError

TEMPLATES: Final = Path(__file__).parent / "templates"
SLUG_CHARS: Final = 60
RUN_CHARS: Final = 6
"""Of a run's id, at its end, where uuid7 is random."""
LINK_SCHEMES: Final = ("http://", "https://", "file://")
PICTURES: Final = {"image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp", "image/gif": ".gif"}
"""No SVG: it may carry scripts."""
TAGS: Final = {"p", "em", "strong", "a", "code", "pre", "ul", "ol", "li", "blockquote", "h2", "h3", "h4", "br", "hr"}


def content_publish(params: Mapping[str, Any], context: ProviderContext) -> dict[str, Any]:
    """Writes the page and its hero image. Raises ProviderError(invalid_request) for a hero that is no artifact here."""
    slug = slug_for(params, context.run_id)
    folder = context.data_dir / "published" / slug
    hero = _hero(params.get("hero"), context.artifacts, folder)
    page = render(params, hero, context.run_id).encode()
    path = folder / "index.html"
    write_whole(path, page)
    return {
        "path": str(path),
        "url": path.as_uri(),
        "slug": slug,
        "sha256": hashlib.sha256(page).hexdigest(),
        "size": len(page),
    }


def render(params: Mapping[str, Any], hero: Mapping[str, Any] | None, run_id: str) -> str:
    """The page. Each paragraph has its id and, as ``data-source``, the ids of its sources."""
    sources = [_source(source) for source in params.get("sources") or ()]
    numbers = {source["id"]: number for number, source in enumerate(sources, 1)}
    paragraphs = [_paragraph(paragraph, place, numbers) for place, paragraph in enumerate(_given_paragraphs(params), 1)]
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True
    )
    return environment.get_template("page.html.j2").render(
        lang=str(params.get("lang") or "en"),
        title=" ".join(str(params["title"]).split()),
        summary=str(params.get("summary") or ""),
        paragraphs=paragraphs,
        sources=sources,
        hero=hero,
        run_id=run_id,
    )


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
    sources = [_source(source) for source in article.get("sources") or ()]
    numbers = {source["id"]: number for number, source in enumerate(sources, 1)}
    parts: list[str] = []
    for place, given in enumerate(_given_paragraphs(article), 1):
        paragraph = _paragraph(given, place, numbers)
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


def _given_paragraphs(params: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    if params.get("paragraphs"):
        return list(params["paragraphs"])
    return [{"text": str(params.get("markdown") or "")}]


def _paragraph(paragraph: Mapping[str, Any], place: int, numbers: Mapping[str, int]) -> dict[str, Any]:
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


def _source(source: Mapping[str, Any]) -> dict[str, str]:
    url = str(source.get("url") or "")
    return {
        "id": str(source["id"]),
        "title": str(source.get("title") or source["id"]),
        "link": url if url.startswith(LINK_SCHEMES) else "",
    }


def _hero(hero: Mapping[str, Any] | None, artifacts: ArtifactStore, folder: Path) -> dict[str, Any] | None:
    """Copies the image beside the page. Only artifacts that are pictures: a page must not publish any other file."""
    if not hero:
        return None
    artifact = hero["artifact"]
    suffix = PICTURES.get(str(artifact["mime"]))
    if suffix is None:
        known = ", ".join(sorted(PICTURES))
        message = f"the hero is {artifact['mime']!r}, which no page shows; give one of {known}"
        raise ProviderError("invalid_request", message, code="no_picture")
    name = f"hero{suffix}"
    write_whole(folder / name, artifacts.get(str(artifact["uri"])))
    size = {side: int(hero[side]) if hero.get(side) else 0 for side in ("width", "height")}
    return {"file": name, "alt": str(hero.get("alt") or ""), **size}
