"""More comes than can be done: nothing is lost, what waits is bounded, and whoever asks for too much is told so."""

from __future__ import annotations

import asyncio

import pytest

from backplane.platform.platform import LocalPlatform
from tests.support.eventually import assert_eventually
from tests.support.overload import flood

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
WAITING = 50


async def test_clients_that_ask_for_too_much_are_told_when_to_come_again(platform: LocalPlatform) -> None:
    """The short form; sixty seconds from twenty clients: ``make bench BENCH="--only overload"``."""
    names = ("kafka", "ledger", "executor")

    def there() -> None:
        assert [platform.part(name)["state"] for name in names] == ["ready"] * len(names)

    # who was killed by the test before may still be on its way
    await asyncio.to_thread(assert_eventually, there, limit_s=60)
    pids = {name: platform.pid(name) for name in names}
    found = await flood(platform.settings, pids, clients=3, seconds=4, each=600, max_waiting=WAITING)
    print(f"{found.acknowledged} acknowledged, {found.overloaded} overloaded, quiet max {max(found.quiet_s):.2f} s")
    assert not found.wrong
    assert found.acknowledged
    assert found.overloaded
    assert all(seconds > 0 for seconds in found.retry_after_s)
    assert found.most_waiting <= WAITING
    assert found.quiet_s, "the client that asks for little was answered"
