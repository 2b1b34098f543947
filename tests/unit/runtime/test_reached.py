"""Which errors say that the platform is away: then a worker begins again, instead of ending."""

from __future__ import annotations

import pytest
from aiokafka.errors import KafkaConnectionError, TopicAuthorizationFailedError
from confluent_kafka import KafkaError, KafkaException

from agents_sdk.errors import Unreachable
from agents_sdk.keys import KeyUnusable
from backplane.runtime.reached import away


def caused(error: Exception, cause: Exception) -> Exception:
    """The error, with that cause."""
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (KafkaConnectionError("bootstrap"), True),
        (KafkaException(KafkaError(KafkaError._TRANSPORT)), True),
        (KafkaException(KafkaError(KafkaError.NOT_CONTROLLER)), True),
        (caused(RuntimeError("crashed"), Unreachable("no registry")), True),
        (ConnectionResetError(), True),
        (KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)), False),
        (TopicAuthorizationFailedError(), False),
        (KeyUnusable("key"), False),
        (KafkaException("not a code"), False),
        (ZeroDivisionError(), False),
        (None, False),
    ],
    ids=repr,
)
def test_away_is_what_time_mends(error: Exception | None, expected: bool) -> None:
    """What an operator must mend ends the process, so that he sees it."""
    assert away(error) is expected
