"""Capabilities: how fast, how often wrong, how dear, who provides them, and whether they may be called."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final, NamedTuple

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import RedirectResponse, Response

from agents_sdk.core.catalogue import MISSED_BEATS, LastHeartbeat
from agents_sdk.core.ledger.contracts import most_specific
from agents_sdk.core.registry import POLICIES, ExecutorBeat, Switch
from backplane.console.access import own_form
from backplane.console.desk import ConsoleContext, desk_of
from backplane.console.render import path
from backplane.console.routes.overview import DAY_S, MICROS
from backplane.insight import figures
from backplane.insight.provider_health import breakers
from backplane.manifests.registry import RegisteredCapability

router = APIRouter()
REGISTRY_S: Final = 2.0
"""How old it may be: as long as a change takes to reach executors."""
SPANS: Final = {"hour": 3_600, "day": DAY_S, "week": 7 * DAY_S, "all": 0}


class Provider(NamedTuple):
    """One provider as the registry has it."""

    name: str
    kind: str
    """Empty: it is no longer declared."""
    price: str
    cannot: str
    """Why it cannot be asked now; empty: it can."""
    switch: Switch


class ManifestStatus(NamedTuple):
    """One capability as the registry has it."""

    description: str
    side_effects: str
    version: int
    state: str
    switch: Switch
    providers: list[Provider]
    contract: RegisteredCapability


class Executor(NamedTuple):
    """The executors that ask providers, by their last heartbeat."""

    beat: ExecutorBeat
    alive: bool
    heard_at: int


class Live(NamedTuple):
    """The registry, or why it cannot be shown."""

    known: dict[str, ManifestStatus]
    executors: list[Executor]
    problem: str = ""


@router.get("/capabilities")
def list_capabilities(request: Request, span: str = "day") -> Response:
    """All that were called or can be, with their providers; and the executors that ask them."""
    desk = desk_of(request)
    since = _since(span)
    used = {row.capability: row for row in figures.outcomes(desk.store, since)}
    by_name: dict[str, list[figures.ProviderRow]] = {}
    for row in figures.providers(desk.store, since):
        by_name.setdefault(row.capability, []).append(row)
    live = _live(desk)
    names = sorted({*used, *by_name, *live.known})
    return desk.page(
        request,
        "capabilities.html.j2",
        breakers=breakers(desk.store),
        rows=[(name, used.get(name), by_name.get(name, []), live.known.get(name)) for name in names],
        live=live,
        span=span,
        spans=list(SPANS),
    )


@router.get("/capabilities/{name:path}")
def show_capability(request: Request, name: str, span: str = "day") -> Response:
    """One capability: its switch, its providers in rank order with their figures, budgets, and its manifest."""
    desk = desk_of(request)
    since = _since(span)
    used = next((row for row in figures.outcomes(desk.store, since) if row.capability == name), None)
    rows = {row.provider: row for row in figures.providers(desk.store, since) if row.capability == name}
    live = _live(desk)
    known = live.known.get(name)
    providers = [(one, rows.pop(one.name, None)) for one in (known.providers if known else ())]
    providers += [
        (Provider(provider, "", "", "", Switch(target="", state="enabled")), row) for provider, row in rows.items()
    ]
    return desk.page(
        request,
        "capability.html.j2",
        name=name,
        used=used,
        known=known,
        providers=providers,
        breakers=[one for one in breakers(desk.store) if one.capability == name],
        budgets=allowed(figures.allowances(desk.store), name),
        manifest=_yaml(known.contract) if known else "",
        policies=POLICIES,
        problem=live.problem,
        span=span,
        spans=list(SPANS),
    )


@router.post("/capabilities/{name:path}")
async def set_switch(request: Request, name: str) -> Response:
    """Enables, disables or pauses the capability, or with ``provider`` one of its providers, for the whole fleet."""
    form = await own_form(request)
    target = f"{name}/{form['provider']}" if form.get("provider") else name
    state = form.get("state", "")
    policy = form.get("policy", "") if state == "paused" else ""
    await asyncio.to_thread(_switch, desk_of(request), target, state, policy, form.get("reason", ""))
    return RedirectResponse(path("capabilities", name), 303)


def _switch(desk: ConsoleContext, target: str, state: str, policy: str, reason: str) -> None:
    from backplane.manifests.switches import switch

    switch(desk.settings, desk.codec, target, state, by="console", policy=policy, reason=reason)
    desk.forget("registry")


def allowed(allowances: list[figures.Allowance], name: str) -> list[tuple[figures.Allowance, int]]:
    """The agents that have a budget and may call the capability, each with what one call may cost; -1: no limit of
    its own."""
    found = []
    for one in allowances:
        glob = most_specific(tuple(one.call_budgets), name)
        limit = one.call_budgets[glob] if glob is not None else -1
        may = most_specific(tuple(one.capabilities), name) is not None
        if may and (limit >= 0 or one.budget_nano_usd >= 0):
            found.append((one, limit))
    return found


def _since(span: str) -> int:
    if span not in SPANS:
        raise HTTPException(400, f"span is one of {', '.join(SPANS)}")
    return int((time.time() - SPANS[span]) * MICROS) if SPANS[span] else 0


def _live(desk: ConsoleContext) -> Live:
    return desk.kept("registry", REGISTRY_S, lambda: _read(desk))


def _read(desk: ConsoleContext) -> Live:
    from agents_sdk.errors import BackplaneError
    from backplane.manifests import switches

    try:
        registered = switches.read(desk.settings, desk.codec)
    except BackplaneError as error:
        missing = "switches, manifests, who can be asked and which executors live are not shown, only what was called"
        return Live(
            {}, [], f"The live registry of capabilities cannot be read ({error.message}): {missing}. {error.hint}"
        )
    now = time.monotonic()
    known = {one.capability.name: _known(registered, one, now) for one in registered.registry}
    executors = sorted(map(_executor, registered.catalogue.beats.values()), key=lambda one: one.beat.executor)
    return Live(known, executors, "; ".join(registered.unreadable))


def _known(registered: Any, contract: RegisteredCapability, now: float) -> ManifestStatus:
    capability = contract.capability
    switch = registered.registry.switch
    providers = [
        Provider(one.name, one.kind, one.price.id if one.price else "", cannot, switch(capability.name, one.name))
        for one, (_, cannot) in zip(capability.providers, registered.standing(contract, now), strict=True)
    ]
    return ManifestStatus(
        capability.description,
        capability.side_effects,
        contract.version,
        registered.state(contract, now),
        switch(capability.name),
        providers,
        contract,
    )


def _executor(heard: LastHeartbeat) -> Executor:
    silent_s = time.monotonic() - heard.at
    alive = silent_s <= MISSED_BEATS * heard.beat.period_ms / 1000
    return Executor(heard.beat, alive, int((time.time() - silent_s) * MICROS))


def _yaml(contract: RegisteredCapability) -> str:
    import yaml

    data = contract.capability.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return str(yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=100))
