"""Counts of requests: the ASGI shell around the application that feeds the metrics."""

from __future__ import annotations

import time
from typing import Any

from backplane.metrics import catalogue
from backplane.metrics.exposition import Metrics


class RequestMetrics:
    """Counts each answer by the pattern of its page, which FastAPI leaves in the scope. It times the beginning: the end
    of a live stream says nothing."""

    def __init__(self, app: Any, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()

        async def answer(message: Any) -> None:
            if message["type"] == "http.response.start":
                page = getattr(scope.get("route"), "path", "")
                self._metrics.count(catalogue.PAGES, page=page, status=str(message["status"]))
                self._metrics.observe(catalogue.PAGE_SECONDS, time.perf_counter() - began, page=page)
            await send(message)

        await self._app(scope, receive, answer)
