"""``content_publish`` to a static site below the data directory: Markdown → sanitised HTML → one page per slug.

Idempotent: the same params give the same bytes at the same place. Nothing of the author's reaches the page unsanitised.
Text is Markdown without raw HTML, cleaned by nh3 again; the template escapes everything else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from agents_sdk.artifacts import ArtifactStore
from backplane.builtin.files import write_whole
from backplane.manifests.articles import paragraph_of, paragraphs_of, slug_for, source_of
from backplane.providers.python import ProviderContext
from backplane.recovery.outcome import ProviderError

TEMPLATES: Final = Path(__file__).parent / "templates"
PICTURES: Final = {"image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp", "image/gif": ".gif"}
"""No SVG: it may carry scripts."""


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
    sources = [source_of(source) for source in params.get("sources") or ()]
    numbers = {source["id"]: number for number, source in enumerate(sources, 1)}
    paragraphs = [paragraph_of(paragraph, place, numbers) for place, paragraph in enumerate(paragraphs_of(params), 1)]
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
