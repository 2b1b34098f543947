"""A broker that is away for a moment ends no process; what does not pass is raised at once."""

from __future__ import annotations

import logging

import pytest
from confluent_kafka import KafkaError, KafkaException

from backplane.runtime import again
from backplane.runtime.again import until_done

log = logging.getLogger("backplane.test")


class Step:
    """Fails so often, then gives a value."""

    def __init__(self, *failures: KafkaError) -> None:
        self.failures = list(failures)
        self.tried = 0

    async def __call__(self) -> int:
        self.tried += 1
        if self.failures:
            raise KafkaException(self.failures.pop(0))
        return 7


AWAY = KafkaError(KafkaError._TRANSPORT)
SLOW = KafkaError(KafkaError.UNKNOWN, "", False, True)


async def test_what_passes_is_waited_for_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    step = Step(AWAY, SLOW, AWAY)
    with caplog.at_level(logging.WARNING):
        assert await until_done(log, "partition 3", step, first_s=0.001) == 7
    assert step.tried == 4
    assert len(caplog.records) == 1
    assert "partition 3" in caplog.text


async def test_what_lasts_is_said_again(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not each time, and not only once."""
    monkeypatch.setattr(again, "SAY_AGAIN_S", 0.0)
    with caplog.at_level(logging.WARNING):
        await until_done(log, "partition 3", Step(AWAY, AWAY, SLOW), first_s=0.001)
    assert len(caplog.records) == 3


@pytest.mark.parametrize(
    "error", [KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED), KafkaError(KafkaError._FENCED, "", True)]
)
async def test_what_does_not_pass_is_raised(error: KafkaError) -> None:
    step = Step(error)
    with pytest.raises(KafkaException):
        await until_done(log, "partition 3", step)
    assert step.tried == 1
