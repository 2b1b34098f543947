"""Dead letters: by cause, one by one, and back to where they came from."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec
from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response

from backplane.console.access import many_of, own_form
from backplane.console.desk import ConsoleContext, desk_of
from backplane.dlq.letters import GROUPS, Letter, chosen, grouped
from backplane.dlq.log import read_named
from backplane.dlq.redrive import Manner, Outcome, discard, paced, redrive

router = APIRouter()
SHOWN: Final = 300
MAX_REDRIVE: Final = 200
"""At a time, so that the answer comes in a time in which a browser waits."""
RATE: Final = 20.0
"""A second; `backplane dlq redrive --rate` for other ones."""


@router.get("/dead-letters")
def list_letters(request: Request, by: str = "cause", cause: str = "", topic: str = "", run: str = "") -> Response:
    """Groups, and the letters of the chosen one."""
    desk = desk_of(request)
    if by not in GROUPS:
        raise HTTPException(400, f"by is one of {', '.join(GROUPS)}")
    letters = desk.letters()
    found = chosen(letters.found, cause=cause, topic=topic, run=run)
    return desk.page(
        request,
        "letters.html.j2",
        by=by,
        kinds=GROUPS,
        groups=grouped(letters.found, by),
        letters=list(reversed(found))[:SHOWN],
        count=len(found),
        problem=letters.problem,
        older=letters.older,
        asked={"cause": cause, "topic": topic, "run": run},
    )


@router.get("/dead-letters/{topic}/{partition}/{offset}")
def show_letter(request: Request, topic: str, partition: int, offset: int) -> Response:
    """All of one dead letter."""
    desk = desk_of(request)
    letter = _named(desk, [f"{topic}/{partition}/{offset}"])[0]
    record = msgspec.json.encode(letter.record).decode() if letter.record is not None else ""
    raw = letter.raw.value
    return desk.page(
        request,
        "letter.html.j2",
        letter=letter,
        record=record,
        hexadecimal=raw[:4_096].hex(" ") if letter.record is None and raw else "",
        headers=[(name, _readable(value)) for name, value in letter.raw.headers],
    )


@router.post("/dead-letters/redrive")
async def put_back(request: Request) -> Response:
    """The results for the chosen letters; with ``really``, puts them back."""
    form = await own_form(request)
    names = await many_of(request, "letter")
    really = form.get("really") == "1"
    desk = desk_of(request)
    manner = Manner(restart=form.get("manner") == "restart", repeat_effects=form.get("repeat_effects") == "1")
    outcomes = await asyncio.to_thread(_redriven, desk, names[:MAX_REDRIVE], really, manner)
    return desk.page(request, "redrive.html.j2", outcomes=outcomes, really=really, verb="")


@router.post("/dead-letters/discard")
async def give_up(request: Request) -> Response:
    """Gives the chosen letters up, for a reason."""
    form = await own_form(request)
    names = await many_of(request, "letter")
    reason = form.get("reason", "").strip()
    if not reason:
        raise HTTPException(400, "a dead letter is discarded for a reason; say which")
    outcomes = await asyncio.to_thread(_discarded, desk_of(request), names[:MAX_REDRIVE], reason)
    return desk_of(request).page(request, "redrive.html.j2", outcomes=outcomes, really=True, verb="Discarded")


def _discarded(desk: ConsoleContext, names: list[str], reason: str) -> list[Outcome]:
    from agents_sdk.blocking import Backplane

    wanted = _named(desk, names)
    if not wanted:
        raise HTTPException(400, "no letter was chosen")
    with Backplane.connect(desk.settings, name="console") as backplane:
        outcomes = list(discard(backplane, desk.settings, wanted, reason))
    desk.letters(fresh=True)
    return outcomes


def _redriven(desk: ConsoleContext, names: list[str], really: bool, manner: Manner) -> list[Outcome]:
    from agents_sdk.blocking import Backplane

    wanted = _named(desk, names)
    if not wanted:
        raise HTTPException(400, "no letter was chosen")
    if not really:
        # a dry run decides by the letters alone: nobody has to be asked
        return [
            Outcome(letter, "refused" if why else "would be", why)
            for letter in wanted
            for why in (letter.not_redrivable(),)
        ]
    with Backplane.connect(desk.settings, name="console") as backplane:
        outcomes = list(redrive(backplane, desk.settings, wanted, dry_run=False, pace=paced(RATE), manner=manner))
    desk.letters(fresh=True)
    return outcomes


def _named(desk: ConsoleContext, names: list[str]) -> list[Letter]:
    if desk.workflows is not None:
        raise HTTPException(403, "dead letters are shown to those who see all runs")
    found = read_named(desk.settings, desk.codec, names)
    there = {letter.id for letter in found}
    missing = [name for name in names if name not in there]
    if missing:
        raise HTTPException(404, f"no dead letter {missing[0]!r}; one that was redriven or discarded is none any more")
    return found


def _readable(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")
