"""What clients of a broker that is away say: once, for a while; and of another trouble all the same."""

from __future__ import annotations

import logging

from agents_sdk.wire.quiet import EVERY_S, RateLimitedLogFilter


def line(facility: str, client: str, text: str) -> logging.LogRecord:
    """As confluent-kafka hands it on."""
    return logging.LogRecord("backplane.kafka", logging.ERROR, "", 0, "%s [%s] %s", (facility, client, text), None)


def refused(client: str, after_ms: int = 0) -> logging.LogRecord:
    """A connection that nobody took."""
    where = "[thrd:127.0.0.1:9/bootstrap]: 127.0.0.1:9/bootstrap: Connect to ipv4#127.0.0.1:9 failed"
    return line("FAIL", client, f"{where}: Connection refused (after {after_ms}ms in state CONNECT)")


def test_a_trouble_is_told_once_in_a_while_whichever_client_has_it() -> None:
    """Twenty a second of each client are one line, and one more when the time is over."""
    clock = [100.0]
    sparing = RateLimitedLogFilter(lambda: clock[0])
    told = [sparing.filter(refused(f"consumer-{number % 3}", number % 5)) for number in range(600)]
    assert told == [True] + [False] * 599
    clock[0] += EVERY_S
    assert sparing.filter(refused("consumer-1"))
    assert not sparing.filter(refused("consumer-2"))


def test_another_trouble_is_told_at_once() -> None:
    """Of another broker, or of another kind."""
    sparing = RateLimitedLogFilter(lambda: 0.0)
    assert sparing.filter(refused("consumer-1"))
    assert sparing.filter(line("FAIL", "consumer-1", "[thrd:a:9/1]: a:9/1: Disconnected (after 5ms in state UP)"))
    assert sparing.filter(line("SESSTMOUT", "consumer-1", "[thrd:main]: Consumer group session timed out"))
    assert not sparing.filter(line("FAIL", "consumer-2", "[thrd:a:9/1]: a:9/1: Disconnected (after 7ms in state UP)"))
