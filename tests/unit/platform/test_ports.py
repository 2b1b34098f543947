"""Free ports below the ephemeral range, the same again where possible."""

from __future__ import annotations

import random
import socket
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from backplane.platform import ports
from backplane.platform.errors import PlatformError
from backplane.platform.ports import HIGHEST, LOOPBACK, LOWEST, VARIABLE, choose, free

ROOT: Final = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever range the processes of this session were given."""
    monkeypatch.delenv(VARIABLE, raising=False)


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


def test_a_port_that_another_process_has_chosen_is_reserved_until_that_ends() -> None:
    """Though its server is still on its way and nothing listens."""
    program = "from backplane.platform.ports import choose; print(choose(['a'], {})['a'], flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as other:
        assert other.stdout is not None
        port = int(other.stdout.readline())
        assert free(port)
        assert choose(["a"], {"a": port})["a"] != port
        other.kill()
    assert choose(["a"], {"a": port})["a"] == port


def test_a_port_is_chosen_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also by one process, whose servers may be on their way; again only when there is no other."""
    monkeypatch.setattr(ports, "free", lambda port: True)  # of others on this machine there may be none
    monkeypatch.setattr(ports, "_reserve", lambda port: True)
    monkeypatch.setattr(ports, "_reserved", set())
    monkeypatch.setenv(VARIABLE, f"{LOWEST + 7_000}-{LOWEST + 7_009}")
    first = {choose(["a"], {})["a"] for _ in range(5)}
    assert len(first) == 5
    assert choose([f"p{number}" for number in range(9)], {})


def test_a_range_that_is_taken_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not looked through for ever."""
    monkeypatch.setattr(ports, "free", lambda port: False)
    monkeypatch.setenv(VARIABLE, f"{LOWEST}-{LOWEST + 2}")

    with pytest.raises(PlatformError, match=f"no port from {LOWEST} to {LOWEST + 2} is free"):
        choose(["b"], {})


def test_recorded_port_out_of_range_is_replaced() -> None:
    """A record edited by hand does not bring the ephemeral range back."""
    assert choose(["kafka"], {"kafka": 50_000}, random.Random(1))["kafka"] <= HIGHEST


def test_a_range_of_ones_own_is_kept_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Platforms that are started side by side do not take each other's ports."""
    recorded = choose(["kafka"], {"kafka": LOWEST + 5_000})
    monkeypatch.setenv(VARIABLE, f"{LOWEST}-{LOWEST + 999}")

    chosen = choose(["a", "b", "kafka"], recorded)

    assert all(LOWEST <= port <= LOWEST + 999 for port in chosen.values())


@pytest.mark.parametrize("given", ["20000", "a-b", "22000-21000", "1-22000", "20000-40000"])
def test_a_range_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    """With what was given and what may be."""
    monkeypatch.setenv(VARIABLE, given)

    with pytest.raises(PlatformError, match=f"{VARIABLE} is '{given}'") as refused:
        choose(["kafka"], {})
    assert f"{LOWEST}-{HIGHEST}" in str(refused.value)
