"""The JSON Schema of manifests: what an editor completes and underlines. Made from the models; pure."""

from __future__ import annotations

from typing import Any, Final

from backplane.manifests.model import Capability

URL: Final = "schemas/manifest.schema.json"
"""Where it is kept, below the repository's root; a manifest names it in its first line:
``# yaml-language-server: $schema=PATH``."""
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def manifest_schema() -> dict[str, Any]:
    """The schema, with the docstrings of the models as descriptions."""
    found = Capability.model_json_schema(by_alias=True)
    return {"$schema": DIALECT, "title": "Backplane capability manifest", **_tidy(found)}


def _tidy(schema: Any) -> Any:
    """Without the titles that only repeat a field's name, and with descriptions on one line."""
    if isinstance(schema, list):
        return [_tidy(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found: dict[str, Any] = {}
    for key, part in schema.items():
        if key == "title" and isinstance(part, str):
            continue
        if key == "description" and isinstance(part, str):
            found[key] = " ".join(part.split())
        else:
            found[key] = _tidy(part)
    return found
