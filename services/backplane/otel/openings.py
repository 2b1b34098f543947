"""Open things, in bounded memory: a run may stay open for weeks, and this process may be started in the middle of it.
So memory is only a cache; what it does not have, the store has.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from agents_sdk.core import kinds
from agents_sdk.core.facts import Fact
from agents_sdk.errors import BackplaneError
from backplane.otel.spans import CLOSES, OPENS, Opening, opened_by, opening

if TYPE_CHECKING:
    from agents_sdk.settings import Settings

log = logging.getLogger("backplane.otel")

KEPT: Final = 200_000
"""Openings in memory; about 500 bytes each."""
VISIBLE_WITHIN_S: Final = 10.0
"""How long the store may take to show a fact that Kafka has already shown us."""
PAUSE_S: Final = 0.5

LookUp = Callable[[Fact, str, str], Opening | None]
"""(closing fact, kind of its opening, id) → the opening, as the store has it."""


class Openings:
    """The facts that opened what is not closed yet; the least recently opened go first when there are too many."""

    def __init__(self, look_up: LookUp, content: bool = False, kept: int = KEPT) -> None:
        self._look_up = look_up
        self._content = content
        self._kept = kept
        self._open: OrderedDict[tuple[str, str], Opening] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open)

    def begin(self, fact: Fact) -> None:
        """Remembers a fact of ``OPENS``."""
        key = opened_by(fact)
        if key is None or fact.kind not in OPENS:
            return
        self._open[key] = opening(fact, self._content)
        if len(self._open) > self._kept:
            self._open.popitem(last=False)

    def end(self, fact: Fact) -> Opening | None:
        """The opening of what the fact closes, which is forgotten; None where it closes nothing or nobody knows."""
        if fact.kind not in CLOSES:
            return None
        key = opened_by(fact)
        assert key is not None
        kept = self._open.pop(key, None)
        return kept if kept is not None else self._look_up(fact, *key)


CONDITION: Final = {
    kinds.RUN_STARTED: "run_id = {id:String}",
    kinds.MESSAGE_DELIVERED: "delivery_id = {id:String} AND attempt = {attempt:Int32}",
    kinds.CALL_REQUESTED: "call_id = {id:String}",
    kinds.REQUEST_SENT: "(request_id = {id:String} OR command_id = {id:String})",
    kinds.DEPENDENCY_DECLARED: "dependency_id = {id:String}",
}


class StoreLookUp:
    """Asks ClickHouse for an opening; waits a little for facts that the sink has not stored yet."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._client: Any = None

    def __call__(self, fact: Fact, kind: str, identity: str) -> Opening | None:
        """The opening; None where the store does not have it either, or cannot be asked."""
        until = self._clock() + VISIBLE_WITHIN_S
        while True:
            try:
                found = self._ask(fact, kind, identity)
            except BackplaneError as error:
                log.warning("the beginning of %s %s is not known: %s", fact.kind, fact.event_id, error)
                return None
            if found is not None or self._clock() >= until:
                return found
            time.sleep(PAUSE_S)

    def _ask(self, fact: Fact, kind: str, identity: str) -> Opening | None:
        from backplane.store.queries import connect_store, query

        if self._client is None:
            self._client = connect_store(self._settings)
        name, _, attempt = identity.rpartition("/") if kind == kinds.MESSAGE_DELIVERED else (identity, "", "0")
        sql = (
            "SELECT event_id, causation_id, toUnixTimestamp64Micro(at), workflow, params FROM events"  # noqa: S608
            " WHERE run_id = {run:String} AND kind = {kind:String} AND " + CONDITION[kind] + " LIMIT 1"
        )
        given = {"run": fact.run_id, "kind": kind, "id": name, "attempt": int(attempt)}
        rows = query(self._client, sql, given).result_rows
        return Opening(*rows[0]) if rows else None
