"""Who may see the console, and what a page may do."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from fastapi import HTTPException, Request
from starlette.requests import ClientDisconnect

from agents_sdk.settings import load_settings
from backplane.console.access import CSRF, POLICY, AccessMiddleware, bounded, forged, form_of, many_of
from backplane.console.sessions import Sessions

TOKEN = "a-token-of-some-length"


@pytest.mark.parametrize(
    ("headers", "form", "said"),
    [
        ({"cookie": f"{CSRF}=abc", "host": "h"}, {"csrf": "abc"}, ""),
        ({"cookie": f"{CSRF}=abc", "host": "h", "origin": "http://h"}, {"csrf": "abc"}, ""),
        ({"cookie": f"{CSRF}=abc", "host": "h", "origin": "http://evil"}, {"csrf": "abc"}, "http://evil"),
        ({"cookie": f"{CSRF}=abc", "host": "h"}, {"csrf": "abd"}, "lacks"),
        ({"cookie": f"{CSRF}=abc", "host": "h"}, {}, "lacks"),
        ({"host": "h"}, {"csrf": ""}, "lacks"),
        ({"host": "h"}, {"csrf": "abc"}, "lacks"),
    ],
)
def test_what_changes_something_comes_from_a_page_of_ours(
    headers: dict[str, str], form: dict[str, str], said: str
) -> None:
    """The cookie and the field agree, and the origin is this console."""
    assert (said in forged(headers, form)) if said else forged(headers, form) == ""


def _sessions(token: str = "") -> Sessions:
    return Sessions(load_settings(kafka={"bootstrap.servers": "127.0.0.1:1"}), token)


async def _answer(app: AccessMiddleware, path: str = "/", **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        return await client.get(path, headers=headers)


async def _inner(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"in"})


async def test_every_answer_forbids_foreign_scripts_and_frames() -> None:
    """No inline script or style, nothing from outside, no frame around us."""
    answer = await _answer(AccessMiddleware(_inner, _sessions(), "127.0.0.1"))

    assert answer.text == "in"
    assert answer.headers["content-security-policy"] == POLICY
    assert "unsafe" not in POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "HttpOnly" in answer.headers["set-cookie"]
    assert "SameSite=Strict" in answer.headers["set-cookie"]


async def test_a_stranger_is_sent_to_the_login_or_told() -> None:
    """A browser gets the page, a program the reason; neither what lies behind."""
    guard = AccessMiddleware(_inner, _sessions(TOKEN), "0.0.0.0")

    page = await _answer(guard, "/runs?status=failed", accept="text/html")
    program = await _answer(guard, "/runs", accept="*/*")
    friend = await _answer(guard, "/runs", authorization=f"Bearer {TOKEN}")

    assert (page.status_code, page.headers["location"]) == (303, "/login?back=%2Fruns%3Fstatus%3Dfailed")
    assert (program.status_code, program.text == "in") == (401, False)
    assert friend.text == "in"


async def test_a_foreign_name_gets_nothing() -> None:
    """Not even a page that is open to all."""
    answer = await _answer(AccessMiddleware(_inner, _sessions(), "127.0.0.1"), "/static/x", host="evil.example")

    assert (answer.status_code, "evil.example" in answer.text) == (421, True)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}, 200),
        ({"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"}, 200),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}, 403),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}, 403),
        ({"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"host": "[::1].evil"}, 421),
    ],
)
async def test_another_site_may_only_link_here(headers: dict[str, str], status: int) -> None:
    """A link opens a page; pictures, frames and scripts of another site get nothing."""
    assert (await _answer(AccessMiddleware(_inner, _sessions(), "127.0.0.1"), **headers)).status_code == status


def _sent(*chunks: bytes, whole: bool = True) -> Any:
    """The ``receive`` of a server whose client sends these and, if that is not the whole, nothing more."""
    waiting = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    waiting[-1]["more_body"] = not whole

    async def receive() -> Any:
        if waiting:
            return waiting.pop(0)
        return await asyncio.Event().wait()

    return receive


async def _body(receive: Any) -> bytes:
    return await Request({"type": "http", "method": "POST", "headers": []}, receive).body()


async def test_a_body_is_bounded_in_bytes_and_time() -> None:
    """Its client counts as gone, whatever reads the body; what is left of it is not kept."""
    assert await _body(bounded(_sent(b"ab", b"c"), 3)) == b"abc"
    for hostile in (_sent(b"ab", b"cd"), _sent(b"abcd"), _sent(b"ab", whole=False)):
        receive = bounded(hostile, 3, 0.01)
        with pytest.raises(ClientDisconnect):
            await _body(receive)
        assert (await receive())["type"] == "http.disconnect"


async def test_what_comes_after_a_whole_body_is_waited_for() -> None:
    """A live stream has no end of its own."""
    receive = bounded(_sent(b""), 0, 5.0)
    assert (await receive())["type"] == "http.request"
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(receive(), 0.05)


@pytest.mark.parametrize("read", [form_of, lambda request: many_of(request, "letter")])
async def test_a_form_that_is_no_text_is_the_client_s_fault(read: Any) -> None:
    """A status of 400, no traceback."""
    with pytest.raises(HTTPException) as refused:
        await read(Request({"type": "http", "method": "POST", "headers": []}, _sent(b"token=\xff\xfe")))
    assert refused.value.status_code == 400
