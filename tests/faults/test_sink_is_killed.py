"""The sink is killed while facts flow: rows are facts all the same, each once."""

from __future__ import annotations

import os
import random
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from agents_sdk.settings import Settings
from agents_sdk.topics import TOPIC_OF_FACT, dead_letter
from agents_sdk.wire.codec import Codec, Undecodable
from agents_sdk.wire.registry import connect_codec
from services.runtime.clients import producer
from services.sink.edges import edges_of
from services.topics.apply import apply_schemas, apply_topics
from tests.support.sinks import SinkProcess, committed
from tests.support.stories import article

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

KILLS = 6
SEEDS = [int(seed) for seed in os.environ.get("FAULT_SEEDS", "1").split(",")]
"""``FAULT_SEEDS=2,3,4`` for more than the daily one."""
BETWEEN_S = 0.02
"""Between transactions: a few hundred facts a second; the kills are what is tested, not the throughput."""
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

    def __enter__(self) -> Flow:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._stop.wait(BETWEEN_S)
            self._producer.begin_transaction()
            for _ in range(self._chance.randrange(1, 8)):
                run = str(uuid.UUID(int=self._chance.getrandbits(128)))
                for fact in article(run, int(time.time() * 1_000_000)).facts:
                    value = self._codec.encode(fact)
                    self._producer.produce(TOPIC_OF_FACT[type(fact)], key=fact.run_id, value=value)
            if self._chance.random() < 0.2:
                self._producer.flush(30)  # so that there are aborted records in the topics, and not none
                self._producer.abort_transaction(30)
                continue
            if self._chance.random() < 0.2:
                self._producer.produce("bp.state", key=b"x", value=POISON)
                self.poisoned += 1
            self._producer.commit_transaction(30)


@pytest.fixture(scope="module")
def settings(broker: Any) -> Settings:
    found: Settings = broker.settings
    apply_topics(found)
    apply_schemas(found)
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_rows_are_facts_whatever_is_killed(settings: Settings, tmp_path: Path, seed: int) -> None:
    """SIGKILLs at seeded moments: every committed record has one row, every fact its edges once, sums are equal,
    and what could not be read is in the dead letters."""
    chance = random.Random(seed)
    codec = connect_codec(settings)
    sink = SinkProcess(settings, tmp_path / "data")
    with sink, Flow(settings, codec, seed) as flow:
        for number in range(KILLS):
            if number % 4:
                _until_it_writes(sink)
            time.sleep(chance.random() * 1.5)
            sink.kill()
            sink.start()
    with sink:
        sink.wait_until_caught_up()
        lying = committed(settings)
        _check_rows(sink, lying)
        _check_books(sink, lying, codec)
    assert flow.poisoned
    assert _dead(settings) >= {(one.topic, one.partition, one.offset) for one in lying if one.value == POISON}


def _until_it_writes(sink: SinkProcess) -> None:
    deadline = time.monotonic() + 30
    while not sink.health().get("rows"):
        assert time.monotonic() < deadline, sink.log.read_text()[-2000:]
        time.sleep(0.05)


def _check_rows(sink: SinkProcess, lying: list[Any]) -> None:
    stored = sink.rows("SELECT topic, partition, offset FROM events ORDER BY topic, partition, offset LIMIT 1000000")

    assert len(lying) > 1000
    assert stored == sorted((one.topic, one.partition, one.offset) for one in lying)


def _check_books(sink: SinkProcess, lying: list[Any], codec: Codec) -> None:
    facts = []
    for one in lying:
        try:
            facts.append((one, codec.decode(one.value)))
        except Undecodable:
            continue
    wanted = sorted((one.topic, one.partition, one.offset, *edge) for one, fact in facts for edge in edges_of(fact))
    columns = "topic, partition, offset, relation, parent_event, state_key, version"
    kept = sink.rows(f"SELECT {columns} FROM edges ORDER BY {columns} LIMIT 1000000")
    assert kept == wanted
    cost = sum(fact.cost_nano_usd for one, fact in facts if one.topic == "bp.attempts")  # type: ignore[union-attr]
    assert sink.rows("SELECT sum(cost_nano_usd) FROM v_cost") == [(cost,)]
    assert sink.rows("SELECT countIf(kind = 'Unreadable') FROM events") == [(len(lying) - len(facts),)]


def _dead(settings: Settings) -> set[tuple[str, int, int]]:
    from confluent_kafka import TopicPartition

    from agents_sdk.wire.dead_letters import read_dead_letter
    from services.runtime.clients import reader

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
            letter = read_dead_letter(message.headers())  # type: ignore[arg-type]  # a list at run time
            assert letter is not None
            assert message.value() == POISON
            found.add((letter.topic, letter.partition, letter.offset))
    consumer.close()
    return found
