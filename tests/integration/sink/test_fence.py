"""Two sinks on one store: whatever one of them sends late, each fact and each edge is there once."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from typing import Any, cast

import pytest
from clickhouse_connect.driver.exceptions import OperationalError

from backplane.sink.fence import Overtaken
from backplane.sink.rows import Record
from backplane.sink.stage import Stages
from backplane.sink.writer import Writer
from backplane.store.engine import Engine
from tests.integration.sink.conftest import Database
from tests.integration.sink.test_stage import CODEC, lying
from tests.integration.sink.test_writer import DAY, check, facts


class Client:
    """A client whose inserts may be late, and whose answers may be lost."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self.before: Callable[[], None] = lambda: None
        """Called when an insert is ready to be sent."""
        self.after: Callable[[], None] = lambda: None
        """Called when it is stored, before its answer comes."""

    def data_insert(self, context: Any) -> None:
        self.before()
        self._real.data_insert(context)
        self.after()

    def raw_insert(self, *args: Any, **options: Any) -> None:
        self.before()
        self._real.raw_insert(*args, **options)
        self.after()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class Sink:
    """A sink on a store that others write to as well."""

    def __init__(self, database: Database, log: list[Record]) -> None:
        self.client = Client(database.client)
        self._writer = Writer(cast("Any", self.client), database.name, shared=True)
        stored = self._writer.stored()
        self._left = [one for one in log if one.offset > stored.get((one.topic, one.partition), -1)]
        self.busy = False

    def take(self, count: int) -> int:
        """Stores the next records, however often that has to be said; how many are left."""
        batch = self._writer.prepare(self._left[:count])
        self.busy, written = True, False
        while not written:
            with contextlib.suppress(OperationalError):
                self._writer.write(batch)
                written = True
        self.busy = False
        self._left = self._left[count:]
        return len(self._left)


def finish(database: Database, log: list[Record]) -> None:
    """A sink alone stores what is left."""
    sink = Sink(database, log)
    while sink.take(50):
        pass
    check(database, log)


class At:
    """Does something at the n-th call."""

    def __init__(self, number: int, deed: Callable[[], object]) -> None:
        self._left = number
        self._deed = deed

    def __call__(self) -> None:
        self._left -= 1
        if not self._left:
            self._deed()


@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize("other", [5, 20, 60])
def test_what_a_frozen_sink_sends_late_is_dropped(database: Database, step: int, other: int) -> None:
    """It stands still right before an insert of its edges, or of its events. Another sink stores fewer records
    meanwhile, as many, or more."""
    log = facts(2)
    frozen = Sink(database, log)
    frozen.client.before = At(step, lambda: Sink(database, log).take(other))

    if other == 20:
        frozen.take(20)  # the same records: who of the two stored them does not matter
    else:
        with pytest.raises(Overtaken):
            frozen.take(20)
    stored = len(database.rows("SELECT offset FROM {database}.events"))
    assert stored == min(other, len(log))
    finish(database, log)


def test_a_sink_that_is_overtaken_in_a_month_sends_late_into_another(database: Database) -> None:
    """ClickHouse keeps the names of each month's inserts apart. The frozen sink's insert is of the second month, where
    nobody has used its name; the others have gone on in both."""
    log = facts(4, apart_us=9 * DAY)
    for step in range(1, 5):
        frozen = Sink(database, log)
        frozen.client.before = At(step, lambda: Sink(database, log).take(40))
        with contextlib.suppress(Overtaken):
            frozen.take(len(log) // 2)
    finish(database, log)


@pytest.mark.parametrize("seed", range(12))
def test_any_order_of_two_sinks_inserts(database: Database, seed: int) -> None:
    """Each of three may stand still before an insert while others store some batches, its own answers may be lost, and
    who is overtaken begins again. Records of one topic-partition go over a month's end."""
    chance = random.Random(seed)
    log = facts(4, apart_us=9 * DAY)
    sinks = [Sink(database, log) for _ in range(3)]

    def work(which: int) -> int:
        def others() -> None:
            idle = [number for number, sink in enumerate(sinks) if not sink.busy]
            while idle and chance.random() < 0.3:
                work(chance.choice(idle))

        def lost() -> None:
            if chance.random() < 0.2:
                raise OperationalError("the answer is lost")

        sink = sinks[which]
        sink.client.before, sink.client.after = others, lost
        try:
            return sink.take(chance.randrange(1, 80))
        except Overtaken:
            sinks[which] = Sink(database, log)
            return len(log)

    for _ in range(300):
        if not work(chance.randrange(3)):
            break
    finish(database, log)


@pytest.mark.parametrize("runs", [1, 200])
def test_parsed_batches_are_fenced(database: Database, engine: Engine, runs: int) -> None:
    """As those that were decoded: the sinks of a server have their rows parsed by an engine of their own."""
    log = facts(runs)
    late_at, at = len(log) // 3, len(log) // 2
    stages = Stages(engine.connection, CODEC, in_store=False)
    frozen, other = (Client(database.client) for _ in range(2))
    first = Writer(cast("Any", frozen), database.name, stages, shared=True)
    second = Writer(cast("Any", other), database.name, stages, shared=True)
    late, batch = first.stage(lying(log[:late_at])), second.stage(lying(log[:at]))
    assert late is not None
    assert batch is not None

    frozen.before = At(1, lambda: second.write(batch))
    with pytest.raises(Overtaken):
        first.write(late)
    check(database, log[:at])
    rest = second.stage(lying(log[at:]))
    assert rest is not None
    second.write(rest)
    check(database, log)


def test_a_shared_store_that_was_emptied_is_filled_again(database: Database) -> None:
    """The names of the first inserts are still known; the deletion makes others of them."""
    log = facts(1)
    finish(database, log)
    for table in ("events", "edges"):
        database.client.command(f"ALTER TABLE {database.name}.{table} DELETE WHERE 1 SETTINGS mutations_sync = 2")
    finish(database, log)


@pytest.mark.parametrize("table", ["events", "edges"])
def test_names_are_known_for_long(database: Database, table: str) -> None:
    """A thousand inserts are a few minutes of a busy sink."""
    [(made,)] = database.rows(f"SHOW CREATE TABLE {{database}}.{table}")
    assert "non_replicated_deduplication_window = 10000" in made


def test_a_sink_that_stood_still_for_long_looks_before_it_writes(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody has written meanwhile it goes on."""
    log = facts(1)
    first, second = Sink(database, log), Sink(database, log)
    monkeypatch.setattr("backplane.sink.writer.SEEN_S", 0.0)
    first.take(10)
    sent: list[int] = []
    second.client.before = lambda: sent.append(1)
    with pytest.raises(Overtaken):
        second.take(10)
    assert not sent
    finish(database, log)
