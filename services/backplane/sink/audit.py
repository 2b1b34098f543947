"""Reconciles again and again beside the ingestion, and says so in ``/health``."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from backplane.sink.reconcile import Positions, ReconciliationReport, problems, reconcile

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

log = logging.getLogger("backplane.sink")

PAUSE_S: Final = 15.0
"""Between two checks at least."""
SHARE: Final = 50
"""A check is followed by a pause of this many times its own duration. So it takes at most a fiftieth of one core,
however large the store becomes. It reads all that is there, 0.4 µs of processor a fact: of ten million some four
seconds, and then nothing for three minutes."""
ONE_CORE: Final = {"max_threads": 1}
"""Questions meanwhile, and ingestion, have the others."""


class Audit:
    """A thread that asks; ``summary`` is what the last check found."""

    def __init__(
        self, connect: Callable[[], Client], kafka: Callable[[], Positions | None], stop: threading.Event
    ) -> None:
        """``connect`` opens a client of its own, whose database is the store's."""
        self._connect = connect
        self._kafka = kafka
        self._stop = stop
        self._thread = threading.Thread(target=self._run, name="sink-audit", daemon=True)
        self.summary: dict[str, Any] | None = None
        """None before the first check."""

    def start(self) -> None:
        """Begins, once the store has its tables."""
        self._thread.start()

    def join(self) -> None:
        """Waits for a check under way, for the engine may not be closed below it."""
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        client: Client | None = None
        pause = 0.0
        while not self._stop.wait(pause):
            began = time.monotonic()
            try:
                client = client or self._opened()
                self._note(reconcile(client, self._kafka()))
            except Exception as error:  # noqa: BLE001 — whatever it is, ingestion goes on, and the page says so
                log.warning("books not checked: %s", error)
                self.summary = {**(self.summary or {}), "error": str(error)}
            pause = max(PAUSE_S, SHARE * (time.monotonic() - began))
        if client is not None:
            client.close()

    def _opened(self) -> Client:
        client = self._connect()
        for name, value in ONE_CORE.items():
            client.set_client_setting(name, value)
        return client

    def _note(self, books: ReconciliationReport) -> None:
        for problem in problems(books):
            log.error("books do not balance: %s", problem)
        self.summary = books.summary()
