"""Agents: what they did, what they may do, what they cost."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from services.console.desk import desk_of
from services.sink import figures

router = APIRouter()


@router.get("/agents")
def list_agents(request: Request) -> Response:
    """All agents, those seen last first."""
    desk = desk_of(request)
    return desk.page(request, "agents.html.j2", agents=figures.agents(desk.store))


@router.get("/agents/{name:path}")
def show_agent(request: Request, name: str) -> Response:
    """One agent or client: its declaration, its figures, its last decisions and failures."""
    desk = desk_of(request)
    row = next((one for one in figures.agents(desk.store) if one.agent == name), None)
    declared = figures.registration(desk.store, name)
    return desk.page(
        request,
        "agent.html.j2",
        name=name,
        agent=row,
        declared=declared,
        decisions=figures.decisions(desk.store, name, 30),
        failures=[one for one in figures.failures(desk.store, 200) if one.agent == name][:20],
    )
