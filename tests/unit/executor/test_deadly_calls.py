"""A call at which executors died is not begun again."""

from __future__ import annotations

import json
import os
import signal
from contextlib import closing
from pathlib import Path

import pytest

from agents_sdk.core.ids import CallId
from agents_sdk.deaths import LIMIT, NOTHING, Deaths
from backplane.executor.engine import CallEngine
from backplane.manifests.registry import RegisteredCapability
from tests.support.calls import capability, registry, requested, settler
from tests.unit.executor.test_engine import Rig, numbered, until


def dies(notes: Path, call_id: str) -> None:
    """An executor that begins a call, and is killed."""
    child = os.fork()
    if not child:
        Deaths(notes).begin(call_id)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)


async def test_a_capability_that_kills_at_each_call_is_called_no_more(tmp_path: Path) -> None:
    """After three of its calls the others fail at once. One that is answered, or a new manifest, clears it."""
    notes = tmp_path / "calls"
    for _ in range(LIMIT):
        for name in ("a", "b", "c"):
            dies(notes, name)
    rig = Rig()
    known = registry(capability())
    with closing(Deaths(notes)) as deaths:
        made = settler(known, rig.asking, rig.outbox)
        engine = CallEngine(
            made, max_in_flight=1, done=rig.finished.__setitem__, crash=rig.crashes.append, deaths=deaths
        )
        engine.own([0])
        engine.ready(0)
        await engine.deliver(0, numbered(requested("a"), requested("good"), requested("b"), requested("c")))
        await until(lambda: rig.finished.get(0) == 4)
        assert rig.asking.asked == ["one"]
        assert deaths.of(engine.kind_of(requested("x"))).deaths == 2
        deaths.blame(engine.kind_of(requested("x")))

        await engine.deliver(0, numbered(requested("d"), requested("e"), start=4))
        await until(lambda: rig.finished.get(0) == 6)
        assert rig.asking.asked == ["one"]
        known.put(RegisteredCapability(capability(), "test.yaml", 8))
        await engine.deliver(0, numbered(requested("f"), start=6))
        await until(lambda: rig.finished.get(0) == 7)
        assert rig.asking.asked == ["one", "one"]
    codes = [one.outcome.error_code for one in rig.outbox.commands if one.outcome is not None]
    assert codes == ["executor_died", "", *["executor_died"] * 4, ""]


@pytest.mark.parametrize(("side_effects", "code"), [("read", "executor_died"), ("unsafe", "outcome_unknown")])
async def test_a_call_that_kills_its_executor_is_put_aside(tmp_path: Path, side_effects: str, code: str) -> None:
    """What executors died at is not begun again, and fails; others go on. What became of an unsafe one nobody knows."""
    notes = tmp_path / "calls"
    for _ in range(LIMIT):
        dies(notes, "deadly")
    rig, aside = Rig(side_effects=side_effects), []
    with closing(Deaths(notes)) as deaths:
        engine = CallEngine(
            settler(registry(capability(side_effects=side_effects)), rig.asking, rig.outbox),
            max_in_flight=4,
            done=rig.finished.__setitem__,
            crash=rig.crashes.append,
            deaths=deaths,
            put_aside=lambda fact, why: aside.append((fact.call_id, why)),
        )
        engine.own([0])
        engine.ready(0)
        await engine.deliver(0, numbered(requested("deadly"), requested("other")))
        await until(lambda: rig.finished.get(0) == 2)

        assert rig.asking.asked == ["one"]
        assert aside == [("deadly", "10 executors died while they made this call")]
        outcomes = {one.outcome.call_id: one.outcome for one in rig.outbox.commands if one.outcome is not None}
        assert (outcomes[CallId("deadly")].error_code, outcomes[CallId("other")].error_code) == (code, "")
        assert "10 executors died" in outcomes[CallId("deadly")].error_message
        assert json.loads(outcomes[CallId("deadly")].report)["action"]
        assert deaths.of("deadly") == NOTHING
