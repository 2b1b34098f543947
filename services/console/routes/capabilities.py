"""Capabilities: how fast, how often wrong, how dear, and who provides them."""

from __future__ import annotations

import time
from typing import Any, Final

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response

from services.console.desk import Desk, desk_of
from services.console.routes.overview import DAY_S, MICROS
from services.sink import figures
from services.sink.health import breakers

router = APIRouter()
MANIFESTS_S: Final = 10.0
"""How old they may be: reading them all takes half a second."""
SPANS: Final = {"hour": 3_600, "day": DAY_S, "week": 7 * DAY_S, "all": 0}


@router.get("/capabilities")
def list_capabilities(request: Request, span: str = "day") -> Response:
    """All that were called or can be, with their providers."""
    desk = desk_of(request)
    since = _since(span)
    used = {row.capability: row for row in figures.outcomes(desk.store, since)}
    by_name: dict[str, list[figures.ProviderRow]] = {}
    for row in figures.providers(desk.store, since):
        by_name.setdefault(row.capability, []).append(row)
    manifests, problem = _manifests(desk)
    names = sorted({*used, *by_name, *manifests})
    return desk.page(
        request,
        "capabilities.html.j2",
        breakers=breakers(desk.store),
        rows=[(name, used.get(name), by_name.get(name, []), manifests.get(name)) for name in names],
        span=span,
        spans=list(SPANS),
        problem=problem,
    )


@router.get("/capabilities/{name:path}")
def show_capability(request: Request, name: str, span: str = "day") -> Response:
    """One capability: its providers in rank order with their figures, and its manifest."""
    desk = desk_of(request)
    since = _since(span)
    used = next((row for row in figures.outcomes(desk.store, since) if row.capability == name), None)
    rows = {row.provider: row for row in figures.providers(desk.store, since) if row.capability == name}
    manifests, problem = _manifests(desk)
    manifest = manifests.get(name)
    ranked = list(manifest["providers"]) if manifest else []
    providers = [(one, rows.pop(one["name"], None)) for one in ranked]
    providers += [({"name": provider, "kind": "", "lacks": "", "price": ""}, row) for provider, row in rows.items()]
    return desk.page(
        request,
        "capability.html.j2",
        name=name,
        used=used,
        providers=providers,
        breakers=[one for one in breakers(desk.store) if one.capability == name],
        manifest=manifest,
        span=span,
        spans=list(SPANS),
        problem=problem,
    )


def _since(span: str) -> int:
    if span not in SPANS:
        raise HTTPException(400, f"span is one of {', '.join(SPANS)}")
    return int((time.time() - SPANS[span]) * MICROS) if SPANS[span] else 0


def _manifests(desk: Desk) -> tuple[dict[str, dict[str, Any]], str]:
    """What this machine's manifests say of each capability; and why they cannot be told, if they cannot."""
    return desk.kept("manifests", MANIFESTS_S, lambda: _read_manifests(desk))


def _read_manifests(desk: Desk) -> tuple[dict[str, dict[str, Any]], str]:
    import yaml

    from agents_sdk.errors import BackplaneError
    from services.capabilities.model import environment
    from services.capabilities.registry import load_registry

    try:
        registry = load_registry(desk.settings.capabilities.paths)
    except BackplaneError as error:
        return {}, error.message
    found = {}
    for contract in registry:
        capability = contract.capability
        data = capability.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        found[capability.name] = {
            "description": capability.description,
            "side_effects": capability.side_effects,
            "providers": [
                {
                    "name": one.name,
                    "kind": one.kind,
                    "price": one.price.id if one.price else "",
                    "lacks": one.missing(environment(), desk.settings.data_dir),
                }
                for one in capability.providers
            ],
            "yaml": yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=100),
        }
    return found, ""
