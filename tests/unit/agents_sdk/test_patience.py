"""A process waits for a platform that is away, says so once, and ends only for what an operator must mend."""

from __future__ import annotations

import asyncio
import logging
import threading

import pytest
from confluent_kafka import KafkaError, KafkaException

from agents_sdk import patience
from agents_sdk.errors import BackplaneError, InvalidCommand, Unanswered, Unreachable
from agents_sdk.keys import KeyUnusable
from agents_sdk.patience import APPLYING_S, Patience
from agents_sdk.settings_model import Settings
from agents_sdk.wire.registry import SchemaRejected, SchemasNotApplied
from agents_sdk.wire.topics_admin import TopicRefused, TopicsNotApplied, mapped

LOG = logging.getLogger("backplane.test")


class Step:
    """Raises these errors, one at each call, and then gives 7."""

    def __init__(self, *errors: BackplaneError) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> int:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return 7

    async def later(self) -> int:
        return self()


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr(patience, "LONGEST_PAUSE_S", 0.0)


def test_what_passes_is_waited_for_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """A hundred attempts, two lines: it waits, it goes on."""
    step = Step(*(Unreachable("no broker") if number % 2 else Unanswered("no ledger") for number in range(100)))

    assert Patience(LOG).until_blocking(step) == 7

    assert step.calls == 101
    assert caplog.messages == ["waiting for the platform: no ledger", "the platform answers; going on"]


async def test_steps_that_wait_side_by_side_say_so_once(caplog: pytest.LogCaptureFixture) -> None:
    """The first that waits and the last that goes on."""
    shared = Patience(LOG)
    steps = [Step(*(Unreachable(f"no {name}") for _ in range(count))) for name, count in (("a", 3), ("b", 9), ("c", 0))]

    assert await asyncio.gather(*(shared.until(step.later) for step in steps)) == [7, 7, 7]

    assert caplog.messages == ["waiting for the platform: no a", "the platform answers; going on"]


def test_steps_of_one_start_are_one_wait(caplog: pytest.LogCaptureFixture) -> None:
    """A registry that is there before its topics are; and the next wait is said again."""
    patience = Patience(LOG)
    with patience.together():
        for name in ("registry", "topics", "ledger"):
            assert patience.until_blocking(Step(Unreachable(f"no {name}"))) == 7
    assert caplog.messages == ["waiting for the platform: no registry", "the platform answers; going on"]
    patience.until_blocking(Step(Unreachable("no broker")))
    assert len(caplog.messages) == 4


@pytest.mark.parametrize(
    "error", [KeyUnusable("key"), InvalidCommand("no"), SchemaRejected("no"), TopicRefused("no")], ids=str
)
async def test_what_an_operator_must_mend_ends_the_waiting(error: BackplaneError) -> None:
    """At once, with the reason."""
    with pytest.raises(type(error)):
        await Patience(LOG).until(Step(Unreachable("away"), error).later)


@pytest.mark.parametrize("kind", [TopicsNotApplied, SchemasNotApplied])
def test_what_nobody_has_applied_is_waited_for_a_minute(kind: type[BackplaneError]) -> None:
    """``backplane up`` applies topics and schemas while agents start; where nobody does, an operator has to."""
    now = [0.0]

    class Slow(Step):
        def __call__(self) -> int:
            now[0] += 1.0
            return super().__call__()

    assert Patience(LOG, lambda: now[0]).until_blocking(Slow(*(kind("missing") for _ in range(30)))) == 7
    late = Slow(*(kind("missing") for _ in range(1_000)))
    with pytest.raises(kind):
        Patience(LOG, lambda: now[0]).until_blocking(late)
    assert late.calls == APPLYING_S + 1


def test_who_is_told_to_stop_does_not_wait_on() -> None:
    """It ends with what it waited for."""
    stop = threading.Event()
    stop.set()
    with pytest.raises(Unreachable):
        Patience(LOG).until_blocking(Step(Unreachable("away")), stop)


async def test_an_answer_that_takes_long_is_waited_for_and_said_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four partitions, one word; and none for those that answer soon."""
    monkeypatch.setattr(patience, "SLOW_S", 0.0)
    shared = Patience(LOG)
    answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    asked = [asyncio.create_task(shared.answered(asyncio.shield(answer), "no ledger")) for _ in range(4)]
    while not caplog.messages:
        await asyncio.sleep(0)
    answer.set_result(7)

    assert await asyncio.gather(*asked) == [7] * 4
    assert [line.partition(" (")[0] for line in caplog.messages] == [
        "waiting for the platform: no ledger",
        "the platform answers; going on",
    ]


@pytest.mark.parametrize("code", ["_UNKNOWN_PARTITION", "_UNKNOWN_TOPIC", "UNKNOWN_TOPIC_OR_PART", "_TRANSPORT"])
def test_a_topic_that_a_client_has_forgotten_is_waited_for(code: str) -> None:
    """A client forgets the partitions of a topic while Kafka does not answer, and says then that it knows none."""
    error = KafkaException(KafkaError(getattr(KafkaError, code)))

    def step() -> int:
        if not failed:
            failed.append(True)
            raise mapped(error, Settings(kafka={"bootstrap.servers": "x"}), "the registry cannot be read")
        return 7

    failed: list[bool] = []
    assert Patience(LOG).until_blocking(step) == 7
