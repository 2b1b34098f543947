"""Capabilities that are paused: their calls wait, without holding up others, or fail; and go on when it is resumed."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from agents_sdk.core.catalogue import Catalogue
from agents_sdk.core.registry import Switch
from backplane.executor.engine import CallEngine
from backplane.manifests.registry import RegisteredCapability, Registry
from tests.support.calls import Outbox, ScriptedProviders, call_event, capability, requested, settler


class Rig:
    """An engine with one slot, a capability that is paused and one that is not."""

    def __init__(self, policy: str = "wait", **fields: Any) -> None:
        self.catalogue = Catalogue()
        self.asking, self.outbox = ScriptedProviders(), Outbox()
        self.finished: dict[int, int] = {}
        self.switch("paused", policy)
        known = [capability("one", **fields), capability("two", name="other")]
        registry = Registry([RegisteredCapability(each, "test.yaml") for each in known], self.catalogue)
        self.engine = CallEngine(
            settler(registry, self.asking, self.outbox), max_in_flight=1, done=self.finished.__setitem__,
            crash=lambda error: pytest.fail(str(error)),
        )  # fmt: skip
        self.engine.own([0])
        self.engine.ready(0)

    def switch(self, state: str, policy: str = "") -> None:
        self.catalogue.take(Switch(target="probe", state=state, policy=policy, reason="repairs"), 0, 0.0)

    async def deliver(self, *facts: Any) -> None:
        await self.engine.deliver(0, list(enumerate(facts)))

    async def finish(self, offset: int) -> None:
        async with asyncio.timeout(5):
            while self.finished.get(0) != offset:
                await asyncio.sleep(0.001)


async def test_calls_wait_while_others_are_made_and_are_made_when_it_is_resumed() -> None:
    """They take no slot; their place in the log is not finished before they are."""
    rig = Rig()

    await rig.deliver(requested("a"), requested("b"), requested("c", "other"))
    async with asyncio.timeout(5):
        while not rig.outbox.kinds().count("CompleteCall"):
            await asyncio.sleep(0.001)
    assert (rig.asking.asked, rig.finished[0]) == (["two"], 0)

    rig.switch("enabled")
    rig.engine.resumed()
    await rig.finish(3)

    assert rig.asking.asked == ["two", "one", "one"]


async def test_a_call_waits_no_longer_than_its_own_time() -> None:
    """Then it fails, and can be redriven: nobody's fault, and told."""
    rig = Rig()

    await rig.deliver(requested("a", timeout_ms=20))
    await rig.finish(1)

    outcome = rig.outbox.outcome()
    assert (rig.asking.asked, outcome.error_class, outcome.error_code) == ([], "outage", "capability_paused")
    assert (outcome.error_message, outcome.said, outcome.said_by) == ("'probe' is paused", "repairs", "operator")
    assert "backplane capabilities resume probe" in msgspec.json.decode(outcome.report)["action"]


async def test_by_the_other_policy_calls_fail_at_once() -> None:
    """Whoever calls is to know now."""
    rig = Rig("fail", timeout_seconds=600)

    await rig.deliver(requested("a"))
    await rig.finish(1)

    assert rig.outbox.outcome().error_code == "capability_paused"


async def test_a_waiting_call_whose_run_has_ended_is_dropped() -> None:
    """Resumed, it is not made."""
    rig = Rig()

    await rig.deliver(requested("a"), call_event("CallCancelled", "a"))
    await rig.finish(2)
    rig.switch("enabled")
    rig.engine.resumed()
    await asyncio.sleep(0)

    assert rig.asking.asked == []


async def test_waiting_calls_stay_unfinished_when_the_process_stops() -> None:
    """The next owner of the partition reads them again."""
    rig = Rig()

    await rig.deliver(requested("a"))
    await rig.engine.stop(0.1)

    assert (rig.outbox.commands, rig.finished[0]) == ([], 0)
