"""Agents: what they did, what they may do, what they cost; and what they ask for, to be approved."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from backplane.console.access import many_of, own_form
from backplane.console.approvals import WaitingAgents
from backplane.console.desk import ConsoleContext, desk_of
from backplane.console.render import path
from backplane.insight import figures
from backplane.insight.acts import acts

router = APIRouter()


@router.get("/agents")
def list_agents(request: Request) -> Response:
    """All agents, those seen last first; above them those that wait for an approval."""
    desk = desk_of(request)
    return desk.page(request, "agents.html.j2", agents=figures.agents(desk.store), asking=desk.asking())


@router.get("/agents/{name:path}")
def show_agent(request: Request, name: str) -> Response:
    """One agent or client: its declaration, its figures, its last decisions and failures."""
    desk = desk_of(request)
    row = next((one for one in figures.agents(desk.store) if one.agent == name), None)
    declared = figures.registration(desk.store, name)
    asking = desk.asking()
    return desk.page(
        request,
        "agent.html.j2",
        name=name,
        agent=row,
        declared=declared,
        asking=WaitingAgents([each for each in asking.found if each.name == name], asking.problem),
        acts=acts(desk.store, name),
        decisions=figures.decisions(desk.store, name, 30),
        failures=[one for one in figures.failures(desk.store, 200) if one.agent == name][:20],
    )


@router.post("/agents/{name:path}")
async def approve(request: Request, name: str) -> Response:
    """Grants what the agent asks for, as the operator was shown it."""
    await own_form(request)
    seen = await many_of(request, "right")
    who = request.state.principal.name
    await asyncio.to_thread(_approve, desk_of(request), name, seen, who)
    return RedirectResponse(path("agents", name), 303)


def _approve(desk: ConsoleContext, name: str, seen: list[str], who: str) -> None:
    from agents_sdk.grants import whoami
    from backplane.roles.office import Office

    Office(desk.settings, desk.codec).approve(name, seen, f"{who or whoami()} (console)")
    desk.approvals.forget()
