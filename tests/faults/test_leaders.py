"""Kafka is killed, then frozen for longer than its own session: who asks for end offsets meets new leaders."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from confluent_kafka import KafkaException

from agents_sdk.topics import COMMANDS, FACT_TOPICS
from backplane.platform.platform import LocalPlatform
from backplane.runtime import clients
from backplane.runtime.again import passes
from backplane.runtime.partitions import EndOffsets
from tests.support.eventually import assert_eventually
from tests.support.prepared import Prepared

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
PLACES: Final = [(topic, 0) for topic in (*FACT_TOPICS, COMMANDS)]
FREEZE_S: Final = 5.0
"""The local broker's session with its controller is 3 s; after it each leader is elected again."""


@pytest.fixture
def kafka(tmp_path: Path, prepared: Prepared) -> Iterator[LocalPlatform]:
    """A broker that this test may kill."""
    with LocalPlatform(prepared.copy(tmp_path / "leaders"), parts=("kafka", "registry", "topics")) as running:
        yield running


def test_ends_are_known_after_an_election(kafka: LocalPlatform) -> None:
    """One client asks all the time. Each answer is the end or an error that passes, and the answers come back."""
    producer = clients.producer(kafka.settings.kafka)
    producer.produce(COMMANDS, b"{}", partition=0)
    assert producer.flush(30) == 0
    expected = {place: int(place[0] == COMMANDS) for place in PLACES}
    ends = EndOffsets(kafka.settings.kafka)

    def known() -> None:
        try:
            assert ends.of(PLACES) == expected
        except KafkaException as failure:
            if passes(failure):
                raise AssertionError(str(failure)) from failure
            raise

    assert_eventually(known, 60)
    kafka.kill("kafka")
    assert_eventually(known, 120)
    frozen = kafka.pid("kafka")
    os.kill(frozen, signal.SIGSTOP)
    time.sleep(FREEZE_S)
    os.kill(frozen, signal.SIGCONT)
    for _ in range(3):  # the old leaders answer for a moment
        assert_eventually(known, 120)
        time.sleep(1.0)
