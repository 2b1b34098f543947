"""Free ports below the ephemeral range, the same again where possible."""

from __future__ import annotations

import random
import socket

from infra.local.ports import HIGHEST, LOOPBACK, LOWEST, choose, free


def test_ports_are_free_distinct_and_below_the_ephemeral_range() -> None:
    """Above 32767 a probe of a closed port can connect to itself and keep the server out."""
    chosen = choose([f"p{number}" for number in range(20)], {})

    assert len(set(chosen.values())) == 20
    assert all(LOWEST <= port <= HIGHEST < 32_768 and free(port) for port in chosen.values())


def test_recorded_port_is_kept_while_free() -> None:
    """Addresses in people's notes stay right over a restart."""
    recorded = choose(["kafka"], {})

    assert choose(["kafka"], recorded) == recorded


def test_recorded_port_that_is_taken_is_replaced() -> None:
    """By a listener of somebody else, or by another part with the same record."""
    recorded = choose(["kafka"], {})["kafka"]
    with socket.socket() as other:
        other.bind((LOOPBACK, recorded))
        other.listen(1)
        assert not free(recorded)
        assert choose(["kafka"], {"kafka": recorded})["kafka"] != recorded

    chosen = choose(["a", "b"], {"a": recorded, "b": recorded})
    assert chosen["a"] == recorded != chosen["b"]


def test_recorded_port_out_of_range_is_replaced() -> None:
    """A record edited by hand does not bring the ephemeral range back."""
    assert choose(["kafka"], {"kafka": 50_000}, random.Random(1))["kafka"] <= HIGHEST
