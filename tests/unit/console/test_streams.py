"""Live streams: each has a consumer of its own, so there are only so many."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from fastapi import HTTPException
from starlette.requests import ClientDisconnect

from backplane.console import live
from backplane.console.routes import streams


async def test_no_more_streams_than_there_may_be_though_all_ask_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that ends before its first event gives its place back as well."""
    closed: list[int] = []

    class Reader:
        """A reader that takes its time to open."""

        def __init__(self, *args: Any, **options: Any) -> None:
            pass

        def close(self) -> None:
            """Notes it."""
            closed.append(1)

    monkeypatch.setattr(streams, "Tail", Reader)
    desk = SimpleNamespace(settings=None, codec=None, streams=set(), workflows=None)
    state = SimpleNamespace(desks=SimpleNamespace(all=desk))
    principal = SimpleNamespace(restricted=False)
    request = cast(
        "Any", SimpleNamespace(headers={}, app=SimpleNamespace(state=state), state=SimpleNamespace(principal=principal))
    )
    monkeypatch.setattr(streams, "desk_of", lambda _: desk)
    asked = await asyncio.gather(*(streams.stream(request) for _ in range(3 * live.STREAMS)), return_exceptions=True)
    opened: list[Any] = [one for one in asked if not isinstance(one, BaseException)]

    assert len(opened) == len(desk.streams) == live.STREAMS
    assert {one.status_code for one in asked if isinstance(one, HTTPException)} == {503}
    for one in opened:
        with pytest.raises(ClientDisconnect):
            await one({"type": "http", "asgi": {"spec_version": "2.4"}}, None, _gone)
    assert not desk.streams
    assert len(closed) == live.STREAMS


async def _gone(message: Any) -> None:
    raise ConnectionError
