"""What expressions of manifests can do beyond JMESPath's own functions. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from jmespath import Options
from jmespath.functions import Functions, signature


class ManifestFunctions(Functions):
    """``ranked``."""

    @signature({"types": ["array", "null"]})
    def _func_ranked(self, items: Sequence[Any] | None) -> list[Any]:
        """Each object with a ``score`` of 1 over its place: for APIs that give an order and no scores."""
        return [
            {**item, "score": 1 / place} if isinstance(item, Mapping) else item
            for place, item in enumerate(items or (), 1)
        ]


OPTIONS: Final = Options(custom_functions=ManifestFunctions())
