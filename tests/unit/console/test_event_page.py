"""The page of one fact, whatever the fact does not have."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.requests import Request

from backplane.access.principals import Principal
from backplane.console.desk import ConsoleContext
from backplane.console.routes import streams
from backplane.insight import figures

PLACE: dict[str, Any] = {"topic": "bp.refusals", "partition": 2, "offset": 0}


@pytest.mark.parametrize(
    "found",
    [
        {**PLACE, "kind": "CommandRefused", "code": "not_granted"},
        {**PLACE, "kind": "StateWritten", "run_id": "memory/lessons", "run_seq": 3, "key": "k", "version": 1},
        {**PLACE, "kind": "StateWritten", "run_id": "r", "run_seq": 3, "event_id": "e", "key": "k", "version": 1},
        {**PLACE, "kind": "RunStarted", "run_id": "r", "run_seq": 1, "event_id": "e"},
        dict(PLACE),
    ],
)
def test_a_fact_without_a_run_has_a_page(monkeypatch: pytest.MonkeyPatch, found: dict[str, Any]) -> None:
    """The store's row has the fields that say something: a refusal about no run has no run."""
    desk = ConsoleContext.__new__(ConsoleContext)
    monkeypatch.setattr(streams, "desk_of", lambda _: desk)
    monkeypatch.setattr(ConsoleContext, "store", property(lambda _: None))
    monkeypatch.setattr(figures, "record", lambda *_: dict(found))
    request = Request(
        {
            "type": "http",
            "method": "GET",
            "path": "/events/bp.refusals/2/0",
            "query_string": b"",
            "headers": [],
            "state": {},
        }
    )
    request.state.csrf, request.state.theme = "token", ""
    request.state.principal = Principal("me", "operator")
    page = streams.show_event(request, "bp.refusals", 2, 0)
    assert page.status_code == 200
    assert b"bp.refusals[2]@0" in page.body
