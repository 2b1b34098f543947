"""The sink is killed while facts flow: rows are facts all the same, each once."""

from __future__ import annotations

import os
import random
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import clickhouse_connect
import pytest

from agents_sdk.settings import Settings
from agents_sdk.topics import FACT_TOPICS, TOPIC_OF_FACT, dead_letter
from agents_sdk.wire.codec import Codec, Undecodable
from agents_sdk.wire.registry import connect_codec
from backplane.platform.platform import LocalPlatform
from backplane.runtime.clients import producer
from backplane.sink.edges import edges_of
from backplane.sink.reconcile import Positions, problems, reconcile
from backplane.sink.source import positions
from backplane.topics.apply import apply_schemas, apply_topics
from tests.support.prepared import Prepared
from tests.support.sinks import EncodedRecord, SinkProcess, committed
from tests.support.stories import article

FACTS = int(os.environ.get("FAULT_FACTS", "15000"))
"""How many at least. ``FAULT_FACTS=1000000`` is the proof; the daily one is what half a minute is enough for."""
KILLS = max(6, FACTS // 50_000)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300 + FACTS // 1000)]

SEEDS = [int(seed) for seed in os.environ.get("FAULT_SEEDS", "1").split(",")]
"""``FAULT_SEEDS=2,3,4`` for more than the daily one."""
RATE = FACTS / (KILLS * 4)
"""Facts a second, at most: there are facts to take at each kill, about four seconds apart, and not too many."""
RUNS = 20
"""In a transaction, at most: some six hundred facts."""
POISON = b"no fact"


class Flow:
    """Facts of many runs, in transactions of which some are aborted, with a poisonous record now and then."""

    def __init__(self, settings: Settings, codec: Codec, seed: int) -> None:
        self._chance = random.Random(seed)
        self._codec = codec
        self._producer = producer(settings.kafka, transactional_id=f"test-{uuid.uuid4()}")
        self._producer.init_transactions(30)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.poisoned = 0
        self.committed = 0
        self.wanted = FACTS

    def __enter__(self) -> Flow:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self.wanted = 0  # the test has failed already
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while self.committed < self.wanted or not self._stop.is_set():
            self._producer.begin_transaction()
            count = sum(self._tell_run() for _ in range(self._chance.randrange(1, RUNS)))
            if self._chance.random() < 0.2:
                self._producer.flush(30)  # so that there are aborted records in the topics, and not none
                self._producer.abort_transaction(30)
                continue
            if self._chance.random() < 0.05:
                self._producer.produce("bp.state", key=b"x", value=POISON)
                self.poisoned += 1
            self._producer.commit_transaction(30)
            self.committed += count
            self._stop.wait(count / RATE)

    def _tell_run(self) -> int:
        run = str(uuid.UUID(int=self._chance.getrandbits(128)))
        facts = article(run, int(time.time() * 1_000_000)).facts
        for fact in facts:
            value = self._codec.encode(fact)
            while True:
                try:
                    self._producer.produce(TOPIC_OF_FACT[type(fact)], key=fact.run_id, value=value)
                    break
                except BufferError:
                    self._producer.poll(0.1)
        return len(facts)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, prepared: Prepared) -> Iterator[Settings]:
    """Of a broker of its own: the audit is of all there is in the topics."""
    with LocalPlatform(prepared.copy(tmp_path_factory.mktemp("sunk")), parts=("kafka", "registry")) as running:
        apply_topics(running.settings)
        apply_schemas(running.settings)
        yield running.settings


@pytest.mark.parametrize("seed", SEEDS)
def test_rows_are_facts_whatever_is_killed(settings: Settings, tmp_path: Path, seed: int) -> None:
    """SIGKILLs at seeded moments: every committed record has one row, every fact its edges once, sums are equal,
    and what could not be read is in the dead letters."""
    chance = random.Random(seed)
    codec = connect_codec(settings)
    sink = SinkProcess(settings, tmp_path / "data")
    with sink, Flow(settings, codec, seed) as flow:
        for number in range(KILLS):
            _until_written(flow, FACTS * number // KILLS)  # spread over all of them
            if number % 4:
                _until_it_writes(sink)
            time.sleep(chance.random() * 1.5)
            sink.kill()
            sink.start()
    with sink:
        sink.wait_until_caught_up(limit_s=60 + FACTS / 5_000)
        lying = committed(settings)
        assert len(lying) >= FACTS
        _check_rows(sink, lying)
        _check_books(sink, lying, codec)
        _check_audit(sink, settings)
    assert flow.poisoned
    assert _dead(settings) >= {(one.topic, one.partition, one.offset) for one in lying if one.value == POISON}


def _until_written(flow: Flow, count: int) -> None:
    deadline = time.monotonic() + 600
    while flow.committed < count:
        assert time.monotonic() < deadline, flow.committed
        time.sleep(0.05)


def _until_it_writes(sink: SinkProcess) -> None:
    deadline = time.monotonic() + 120
    while not sink.health().get("rows"):
        assert time.monotonic() < deadline, sink.log.read_text()[-2000:]
        time.sleep(0.05)


def _check_rows(sink: SinkProcess, lying: list[EncodedRecord]) -> None:
    """Topic by topic, since the store answers with a million rows at most."""
    for topic in FACT_TOPICS:
        stored = sink.rows(f"SELECT partition, offset FROM events WHERE topic = '{topic}' ORDER BY partition, offset")
        assert stored == sorted((one.partition, one.offset) for one in lying if one.topic == topic)


def _check_books(sink: SinkProcess, lying: list[EncodedRecord], codec: Codec) -> None:
    facts: list[tuple[EncodedRecord, Any]] = []
    for one in lying:
        try:
            facts.append((one, codec.decode(one.value)))
        except Undecodable:
            continue
    columns = "partition, offset, relation, parent_event, state_key, version"
    for topic in FACT_TOPICS:
        wanted = sorted(
            (one.partition, one.offset, *edge) for one, fact in facts if one.topic == topic for edge in edges_of(fact)
        )
        assert sink.rows(f"SELECT {columns} FROM edges WHERE topic = '{topic}' ORDER BY {columns}") == wanted
    cost = sum(fact.cost_nano_usd for one, fact in facts if one.topic == "bp.attempts")
    assert sink.rows("SELECT sum(cost_nano_usd) FROM v_cost") == [(cost,)]
    assert sink.rows("SELECT countIf(kind = 'Unreadable') FROM events") == [(len(lying) - len(facts),)]


def _check_audit(sink: SinkProcess, settings: Settings) -> None:
    """The platform's own audit comes to the same."""
    client = clickhouse_connect.get_client(host="127.0.0.1", port=sink.port, database="backplane")
    books = reconcile(client, Positions(*positions(settings.kafka)))
    assert list(problems(books)) == []
    assert books.summary()["rows"] == sum(account.offsets for account in books.accounts) >= FACTS


def _dead(settings: Settings) -> set[tuple[str, int, int]]:
    from confluent_kafka import TopicPartition

    from agents_sdk.wire.dead_letters import read_dead_letter
    from backplane.runtime.clients import reader

    consumer = reader(settings.kafka)
    topic = dead_letter("bp.state")
    numbers = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, number, 0) for number in numbers])
    found, ended = set(), 0
    while ended < len(numbers):
        for message in consumer.consume(100, timeout=2.0):
            if message.error():
                ended += 1
                continue
            letter = read_dead_letter(message.headers())
            assert letter is not None
            assert message.value() == POISON
            found.add((letter.topic, letter.partition, letter.offset))
    consumer.close()
    return found
