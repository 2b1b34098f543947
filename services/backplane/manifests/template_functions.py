"""Functions for expressions of manifests, beyond JMESPath's own. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from jmespath import Options
from jmespath.functions import Functions, signature


class ManifestFunctions(Functions):
    """``ranked``, ``extension``, ``article_slug`` and ``article_html``."""

    @signature({"types": ["array", "null"]})
    def _func_ranked(self, items: Sequence[Any] | None) -> list[Any]:
        """Each object with a ``score`` of 1 over its place: for APIs that give an order and no scores."""
        return [
            {**item, "score": 1 / place} if isinstance(item, Mapping) else item
            for place, item in enumerate(items or (), 1)
        ]

    @signature({"types": ["string"]})
    def _func_extension(self, mime: str) -> str:
        """Of files of this kind, with its dot: servers tell files by their names."""
        import mimetypes

        return mimetypes.guess_extension(mime) or ".bin"

    @signature({"types": ["object"]}, {"types": ["string"]})
    def _func_article_slug(self, article: Mapping[str, Any], run_id: str) -> str:
        """The name in its address: the article's own, else of its title and the run."""
        from backplane.manifests.articles import slug_for

        return slug_for(article, run_id)

    @signature({"types": ["object"]})
    def _func_article_html(self, article: Mapping[str, Any]) -> str:
        """The article's paragraphs and sources as HTML that holds nothing but text, structure and harmless links."""
        from backplane.manifests.articles import body_of

        return body_of(article)


OPTIONS: Final = Options(custom_functions=ManifestFunctions())
