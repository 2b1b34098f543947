"""Responses and httpx's errors → classes of failures."""

from __future__ import annotations

import datetime as dt
import inspect

import httpx
import pytest

from backplane.manifests.model import ErrorRule
from backplane.providers import classify

NOW = dt.datetime(2026, 11, 24, 12, 0, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("status", "error_class", "uncertain"),
    [
        (200, None, False),
        (204, None, False),
        (302, "unknown", True),
        (303, "unknown", True),
        (307, "unknown", False),
        (499, "invalid_request", True),
        (400, "invalid_request", False),
        (401, "auth", False),
        (402, "quota", False),
        (403, "auth", False),
        (404, "invalid_request", False),
        (408, "transient", True),
        (409, "transient", True),
        (422, "invalid_request", False),
        (429, "rate_limited", False),
        (451, "content_refused", False),
        (500, "transient", True),
        (503, "outage", True),
        (599, "transient", True),
    ],
)
def test_statuses_have_classes(status: int, error_class: str | None, uncertain: bool) -> None:
    """Clear refusals are certain, everything after which the effect may have happened is not."""
    failure = classify.of_response(status, "Reason", None, None, [], NOW)

    assert (failure.error_class if failure else None) == error_class
    assert failure is None or failure.uncertain is uncertain


def test_rules_come_before_the_built_in_ones() -> None:
    """The first that fits wins; a rule may call a 200 a failure and read the provider's words."""
    rules = [
        ErrorRule.model_validate({"status": 429, "body": "code == 'quota'", "class": "quota"}),
        ErrorRule.model_validate(
            {"status": "2xx", "body": "refusal", "class": "content_refused", "message": "refusal"}
        ),
    ]

    def of(status: int, body: object) -> object:
        failure = classify.of_response(status, "", None, body, rules, NOW)
        return failure and (failure.error_class, failure.message)

    assert of(429, {"code": "quota"}) == ("quota", "HTTP 429")
    assert of(429, {"code": "speed"}) == ("rate_limited", "HTTP 429")
    assert of(200, {"refusal": "no"}) == ("content_refused", "HTTP 200: no")
    assert of(200, {"refusal": ""}) is None
    assert of(429, None) == ("rate_limited", "HTTP 429")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("Tue, 24 Nov 2026 12:00:30 GMT", 30.0),
        ("Tue, 24 Nov 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
        (None, None),
    ],
)
def test_retry_after_is_read(header: str | None, seconds: float | None) -> None:
    """Seconds or a date; a past date is now; anything else is nothing."""
    assert classify.parse_retry_after(header, NOW) == seconds


@pytest.mark.parametrize(
    "body", [{"error": {"message": "why"}}, {"message": "why"}, {"detail": "why"}, {"error": "why"}]
)
def test_the_providers_own_words_are_quoted(body: object) -> None:
    """Where the usual APIs put them."""
    failure = classify.of_response(400, "Bad Request", None, body, [], NOW)

    assert failure is not None
    assert failure.message == "HTTP 400 Bad Request: why"


def test_long_words_are_cut() -> None:
    """A page of HTML in an error field does not become a fact."""
    failure = classify.of_response(400, "", None, {"message": "x" * 5_000}, [], NOW)

    assert failure is not None
    assert len(failure.message) == classify.QUOTE_LIMIT


def test_every_transport_error_of_httpx_is_mapped() -> None:
    """A new one in httpx fails here before it surprises in production."""
    errors = [each for _, each in inspect.getmembers(httpx, inspect.isclass) if issubclass(each, httpx.RequestError)]
    abstract = {httpx.RequestError, httpx.TransportError, httpx.TimeoutException, httpx.ProtocolError}

    unmapped = [each for each in errors if each not in abstract and classify.of_error(each("x")) is None]

    assert unmapped == []
    assert len(errors) > 15
