"""The middleware of the workers' ports: who is shown what."""

from __future__ import annotations

from typing import Any, cast

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from backplane.access.principals import Principal
from backplane.runtime.http_guard import guarded

KNOWN = {
    "Bearer admin": Principal("a", "admin"),
    "Bearer all": Principal("v", "viewer"),
    "Bearer some": Principal("n", "viewer", ("content",)),
}


class Doorkeeper:
    """A gate that knows three principals."""

    def principal(self, headers: Any, query: Any) -> Principal | None:
        """By the token alone."""
        return KNOWN.get(headers.get("authorization", ""))


async def test_strangers_see_a_status_and_nothing_else() -> None:
    """Nor do viewers of some workflows: how much all runs together have to do is not theirs to know."""
    said = {"status": "failing", "lag": {"bp.commands[0]": 7}}

    async def health(_: web.Request) -> web.Response:
        return web.json_response(said, status=503)

    app = web.Application(middlewares=[guarded("127.0.0.1", ("/health", "/metrics"), cast("Any", Doorkeeper()))])
    app.router.add_get("/health", health)
    app.router.add_get("/metrics", health)
    async with TestClient(TestServer(app)) as client:
        for token, told in (("admin", True), ("all", True), ("some", False), ("x", False), ("", False)):
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            answer = await client.get("/health", headers=headers)
            assert answer.status == 503
            assert await answer.json() == (said if told else {"status": "failing"})
            assert (await client.get("/metrics", headers=headers)).status == (503 if told else 401)
