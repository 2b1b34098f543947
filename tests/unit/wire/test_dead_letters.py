"""Dead letters: one set of headers written, four read, and nothing of the original changed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agents_sdk.wire.headers import DeadLetter, dead_letter_headers, read_dead_letter, redrive_headers, text

ORIGINAL = [("traceparent", b"00-aa-bb-01"), ("ce_id", b"x"), ("binary", b"\xff\x00"), ("binary", b"second")]


def failed() -> ValueError:
    try:
        raise ValueError("no such thing")
    except ValueError as error:
        return error


def test_what_is_written_is_read() -> None:
    """All that is known about a failure survives the headers."""
    known = DeadLetter.of(
        "bp.commands", 3, 1207, "bp.ledger", failed(), stage="decode", failed_at="2026-01-01T10:00:00Z"
    )
    written = dead_letter_headers(replace(known, delivery_count=2), ORIGINAL)
    letter = read_dead_letter(written)
    assert letter is not None
    trace = letter.stacktrace
    assert "ValueError: no such thing" in trace
    assert letter == DeadLetter(
        topic="bp.commands",
        partition=3,
        offset=1207,
        group="bp.ledger",
        delivery_count=2,
        message="no such thing",
        exception_class="ValueError",
        stacktrace=trace,
        stage="decode",
        first_failed_at="2026-01-01T10:00:00Z",
    )


def test_original_headers_stay_byte_for_byte() -> None:
    """The record's own headers come first, in their order, repeated ones and bytes that are no text included."""
    assert dead_letter_headers(DeadLetter.of("bp.runs", 0, 1, "g", failed()), ORIGINAL)[: len(ORIGINAL)] == ORIGINAL


def test_error_from_elsewhere_is_named_by_its_type() -> None:
    """A handler's error, known by name and message only, is told as well as an exception."""
    letter = read_dead_letter(
        dead_letter_headers(DeadLetter.of("bp.inbox.a", 1, -1, "bp.agent.a", ("KeyError", "'x'")))
    )
    assert letter is not None
    assert (letter.exception_class, letter.message, letter.offset, letter.stacktrace) == ("KeyError", "'x'", -1, "")


def test_long_traces_are_cut() -> None:
    """A stack trace cannot push a dead letter over the size limit."""
    written = dead_letter_headers(DeadLetter.of("t", 0, 0, "g", ("E", "x" * 1_000_000)))
    assert sum(len(value) for _, value in written) < 10_000


def test_redrive_counts_and_keeps_the_first_failure() -> None:
    """A record that dies, is redriven and dies again says when it first failed and how often it came back."""
    first = dead_letter_headers(DeadLetter.of("bp.runs", 0, 7, "g", failed(), failed_at="first"), ORIGINAL)
    back = redrive_headers(first)
    assert back[: len(ORIGINAL)] == ORIGINAL
    assert read_dead_letter(back) is None, "a redriven record is no dead letter"
    second = read_dead_letter(
        dead_letter_headers(DeadLetter.of("bp.runs", 0, 9, "g", failed(), failed_at="second"), back)
    )
    assert second is not None
    assert (second.first_failed_at, second.redrive_count, second.offset) == ("first", 1, 9)
    twice = redrive_headers(
        dead_letter_headers(DeadLetter.of("bp.runs", 0, 9, "g", failed(), failed_at="second"), back)
    )
    assert text(twice)["__dlq.errors.redrive.count"] == "2"


FAMILIES = {
    "kafka": [("__dlq.errors.topic", b"t"), ("__dlq.errors.partition", b"2"), ("__dlq.errors.offset", b"9")],
    "connect": [
        ("__connect.errors.topic", b"t"),
        ("__connect.errors.partition", b"2"),
        ("__connect.errors.offset", b"9"),
        ("__connect.errors.exception.message", b"m"),
        ("__connect.errors.exception.class.name", b"java.lang.E"),
        ("__connect.errors.connector.name", b"sink"),
        ("__connect.errors.stage", b"VALUE_CONVERTER"),
    ],
    "streams": [
        ("__streams.errors.topic", b"t"),
        ("__streams.errors.partition", b"2"),
        ("__streams.errors.offset", b"9"),
        ("__streams.errors.exception", b"java.lang.E"),
        ("__streams.errors.message", b"m"),
    ],
    "spring": [
        ("kafka_dlt-original-topic", b"t"),
        ("kafka_dlt-original-partition", (2).to_bytes(4, "big")),
        ("kafka_dlt-original-offset", (9).to_bytes(8, "big")),
        ("kafka_dlt-exception-fqcn", b"java.lang.E"),
        ("kafka_dlt-exception-message", b"m"),
        ("kafka_dlt-original-consumer-group", b"g"),
    ],
}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_read(family: str) -> None:
    """Whoever wrote the dead letter, its place is found."""
    letter = read_dead_letter([("other", b"x"), *FAMILIES[family]])
    assert letter is not None
    assert (letter.family, letter.topic, letter.partition, letter.offset) == (family, "t", 2, 9)
    if family != "kafka":
        assert (letter.exception_class, letter.message) == ("java.lang.E", "m")
    assert [name for name, _ in redrive_headers(FAMILIES[family])] == ["__dlq.errors.redrive.count"]


def test_our_own_headers_win() -> None:
    """A letter that passed through two systems is read by the set we write."""
    both = [*FAMILIES["spring"], ("__dlq.errors.topic", b"ours")]
    letter = read_dead_letter(both)
    assert letter is not None
    assert letter.topic == "ours"


@pytest.mark.parametrize("raw", [b"", b"x", b"\xff" * 3, None])
def test_number_that_cannot_be_read_does_not_hide_the_letter(raw: bytes | None) -> None:
    """Diagnosis of something broken must not break on it."""
    letter = read_dead_letter(
        [("__dlq.errors.topic", b"t"), ("__dlq.errors.offset", raw), ("__dlq.errors.delivery.count", raw)]
    )
    assert letter is not None
    assert (letter.offset, letter.delivery_count) == (-1, 0)


def test_record_that_is_no_dead_letter_is_none() -> None:
    """Ordinary headers are not taken for a failure."""
    assert read_dead_letter(ORIGINAL) is None
    assert read_dead_letter(None) is None
