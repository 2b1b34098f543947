"""The first page: how everything does, now."""

from __future__ import annotations

import time
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from backplane.console.charts import spend_chart
from backplane.console.desk import ConsoleContext, desk_of
from backplane.console.positions import written
from backplane.insight import figures
from backplane.insight.answers import by_parent, runs
from backplane.metrics import catalogue
from backplane.metrics.exposition import CONTENT_TYPE
from backplane.sink.fence import Place
from backplane.sink.reconcile import Positions, problems, reconcile
from backplane.sink.source import positions
from backplane.store.queries import health as health_of
from backplane.store.queries import lag_of

router = APIRouter()
MICROS: Final = 1_000_000
DAY_S: Final = 86_400


@router.get("/health")
def health() -> Response:
    """Whether this process answers."""
    return JSONResponse({"status": "ok"})


@router.get("/metrics")
def metrics(request: Request) -> Response:
    """Counts of this process, for Prometheus."""
    desk = desk_of(request)
    desk.metrics.set(catalogue.STREAMS, len(desk.streams))
    return Response(desk.metrics.render({"status": "ok"}), headers={"Content-Type": CONTENT_TYPE})


@router.get("/")
def overview(request: Request) -> Response:
    """Live runs, spend, lag, dead letters, failures, books."""
    desk = desk_of(request)
    now = time.time()
    today = int(now // DAY_S * DAY_S) * MICROS
    since = written(stored_up_to(desk))
    letters = desk.letters()
    said = health_of(desk.settings)
    return desk.page(
        request,
        "overview.html.j2",
        pulse=figures.pulse(desk.store, today),
        live=figures.live_runs(desk.store),
        runs=by_parent(runs(desk.store, 12)),
        failures=figures.failures(desk.store, 8),
        lag=lag_of(said),
        silent=desk.silent("store", answers=bool(said)),
        aside=figures.aside(desk.store),
        letters=letters,
        books=said.get("books"),
        chart=spend_chart(figures.spend(desk.store, int((now - DAY_S) * MICROS), 3_600), now - DAY_S, now, 3_600),
        stream={"since": since},
    )


@router.get("/books")
def books(request: Request) -> Response:
    """The store held against Kafka, now."""
    desk = desk_of(request)
    kafka = _kafka(desk)
    found = reconcile(desk.store, kafka)
    return desk.page(request, "books.html.j2", books=found, problems=list(problems(found)), kafka=kafka is not None)


def _kafka(desk: ConsoleContext) -> Positions | None:
    from confluent_kafka import KafkaException

    try:
        return Positions(*positions(desk.settings.kafka))
    except KafkaException:
        return None


def stored_up_to(desk: ConsoleContext) -> dict[Place, int]:
    """The next offset of each partition in the store, where the stream of a page begins: asked before anything else
    is."""
    return {(p.topic, p.partition): p.last_offset + 1 for p in figures.positions(desk.store)}
