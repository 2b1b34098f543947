"""Calls made in the agent's own process: which are, what the log has of them, and who settles what was left open."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agents_sdk import operations
from agents_sdk.core.catalogue import Catalogue
from agents_sdk.core.commands import Command
from agents_sdk.core.registry import Switch
from agents_sdk.errors import CallFailed, RunFinished, ScopeDenied
from agents_sdk.scope import Scope
from backplane.executor import settle
from backplane.executor.engine import CallEngine
from backplane.executor.local import LocalCaller
from backplane.manifests.registry import RegisteredCapability, Registry
from backplane.recovery.outcome import Answer
from tests.support.calls import Outbox, ScriptedProviders, call_event, capability, failure, registry, requested, settler
from tests.support.core_requests import CoreRequests
from tests.support.ledger_desk import EXECUTOR, Desk

FUNCTION = "tests.support.live_capabilities:say"
PROVIDERS = [{"name": name, "kind": "python", "function": FUNCTION} for name in ("one", "two")]


class Rig:
    """An agent that makes its calls of ``probe`` itself, with the ledger's core behind it."""

    def __init__(self, asking: ScriptedProviders | None = None, **fields: Any) -> None:
        self.desk = Desk()
        self.desk.register("agent")
        self.desk.start()
        self.asking = asking or ScriptedProviders()
        self.before: list[Any] = []
        requests = CoreRequests(self.desk, self._before)
        self.scope = Scope(requests, "r", "agent", correlation_id="r")
        known = registry(capability(providers=PROVIDERS, **fields))
        self.scope.local = self.caller = LocalCaller({"probe"}, known, self.asking, requests, 1_000)

    def _before(self, command: Command) -> None:
        if command.outcome is not None and self.before:
            self.before.pop()()

    async def execute(self, **fields: Any) -> operations.CallResult:
        return await operations.execute(self.scope, "probe", {"q": 1}, **{"timeout_seconds": None, **fields})

    def kinds(self) -> list[str]:
        return [fact.kind for fact in self.desk.facts[2:]]


async def test_the_intent_is_recorded_before_the_provider_is_asked_and_the_outcome_before_the_caller_has_it() -> None:
    """The same facts, in the same order, as by an executor; they say who made the call."""
    seen: list[list[str]] = []

    def look(request: Any) -> Answer:
        seen.append(rig.kinds())
        return Answer(result={"a": 1})

    rig = Rig(ScriptedProviders(one=look))

    done = await rig.execute()

    assert seen == [["CallRequested"]]
    assert rig.kinds() == ["CallRequested", "AttemptSucceeded", "CallCompleted"]
    assert (done.result, done.provider, done.attempts) == ({"a": 1}, "one", 1)
    intent, attempt, outcome = rig.desk.facts[-3:]
    assert (done.call_id, done.event_id) == (intent.command_id, outcome.event_id)
    assert (attempt.causation_id, attempt.agent, outcome.agent) == (intent.event_id, "agent", "agent")


async def test_recovery_is_the_executors() -> None:
    """Attempts are repeated and told one by one; the next provider is asked; a failure has its story."""
    rig = Rig(ScriptedProviders(one=[failure(), failure("auth")], two=[failure("auth")]))

    with pytest.raises(CallFailed) as raised:
        await rig.execute()

    assert rig.asking.asked == ["one", "one", "two"]
    assert rig.kinds()[:5] == ["CallRequested", *["AttemptFailed"] * 3, "CallFailed"]
    assert raised.value.fields["call_id"] == rig.desk.facts[2].command_id
    assert len(raised.value.fields["report"]["attempts"]) == 3


async def test_no_breaker_of_the_fleet_hears_of_it() -> None:
    """What fails in this process may work in others; here it is passed over."""
    rig = Rig(ScriptedProviders(one=[failure("outage")] * 9), retry={"max_attempts": 1})

    for _ in range(9):
        await rig.execute()

    assert {kind for kind in rig.kinds() if not kind.startswith(("Call", "Attempt"))} == set()
    assert rig.asking.asked.count("two") == 9
    assert rig.asking.asked.count("one") < 9


async def test_what_the_role_forbids_is_not_begun() -> None:
    """The ledger decides, before anything happens."""
    rig = Rig()
    rig.desk.register("agent", capabilities=["other"])

    with pytest.raises(ScopeDenied):
        await rig.execute()

    assert rig.asking.asked == []


async def test_a_run_that_ended_meanwhile_has_no_outcome() -> None:
    """The caller is told."""
    rig = Rig()
    rig.before.append(lambda: rig.desk.send("CancelRun"))

    with pytest.raises(RunFinished):
        await rig.execute()

    assert rig.kinds() == ["CallRequested", "CallCancelled", "RunCancelled", "CommandRefused", "CommandRefused"]


@pytest.mark.parametrize("number", [1, 2])
async def test_an_outcome_that_is_there_already_counts(number: int) -> None:
    """An executor has taken the call over, and recorded the attempt of the same number or another one."""

    def taken_over() -> None:
        call_id = rig.desk.facts[2].command_id
        attempt: dict[str, Any] = {"call_id": call_id, "attempt": number, "cost_nano_usd": 1}
        rig.desk.send("RecordAttempt", agent=EXECUTOR, reply_to="", **attempt)
        rig.desk.send("CompleteCall", agent=EXECUTOR, reply_to="", call_id=call_id, result='"theirs"')

    rig = Rig()
    rig.before.append(taken_over)

    assert (await rig.execute()).result == "theirs"
    assert rig.kinds().count("CallCompleted") == 1


async def test_a_call_goes_on_when_its_caller_is_cancelled() -> None:
    """As one that an executor makes; so it does not stay open."""
    rig = Rig()
    rig.asking.gate.clear()
    calling = asyncio.ensure_future(rig.execute())
    async with asyncio.timeout(5):
        while not rig.asking.active:
            await asyncio.sleep(0)
    calling.cancel()
    await asyncio.sleep(0)
    rig.asking.gate.set()
    await rig.caller.close()

    assert calling.cancelled()
    assert rig.kinds()[-1] == "CallCompleted"


async def test_a_call_that_became_unsafe_since_it_was_asked_for_is_left_to_executors() -> None:
    """Nothing is done here; the outcome is waited for."""
    rig = Rig()
    assert rig.caller.takes("probe", "")
    unsafe = registry(capability(providers=PROVIDERS, side_effects="unsafe"))
    rig.caller._registry = unsafe

    assert await rig.caller.settle(requested("a"), 0, 0) is None
    assert rig.asking.asked == []


@pytest.mark.parametrize(
    ("fields", "config", "why"),
    [
        ({"side_effects": "unsafe"}, "", "unsafe"),
        ({"fallback": [{"capability": "other"}]}, "", "falls back"),
        ({}, '{"fallback":[{"capability":"other"}]}', "falls back"),
        ({}, '{"fallbak":[]}', "fallbak"),
        ({"providers": [{"name": "x", "kind": "subprocess", "command": ["x"]}]}, "", "no Python function"),
        ({"providers": [{"name": "x", "kind": "python", "function": "nowhere:f"}]}, "", "cannot be loaded"),
        ({"providers": [{"name": "x", "kind": "python", "function": "json:nothing"}]}, "", "cannot be loaded"),
        ({"name": "another"}, "", "no capability"),
    ],
)
async def test_what_cannot_be_made_here_is_left_to_executors(fields: dict[str, Any], config: str, why: str) -> None:
    """And it is said why."""
    known = registry(capability(**{"providers": PROVIDERS, **fields}))
    caller = LocalCaller({"probe"}, known, ScriptedProviders(), Rig().scope.requests, 1_000)

    assert why in caller.unfit("probe", config)
    assert not caller.takes("probe", config)


async def test_what_is_not_named_or_not_enabled_is_left_to_executors() -> None:
    """However well it could be made here."""
    catalogue = Catalogue()
    known = Registry([RegisteredCapability(capability(providers=PROVIDERS), "test.yaml")], catalogue)
    requests = Rig().scope.requests
    caller = LocalCaller({"probe"}, known, ScriptedProviders(), requests, 1_000)

    assert caller.takes("probe", "")
    assert not LocalCaller({"other"}, known, ScriptedProviders(), requests, 1_000).takes("probe", "")
    catalogue.take(Switch(target="probe", state="paused", policy="wait", reason="repairs"), 0, 0.0)
    assert not caller.takes("probe", "")


class Executors:
    """An executor's engine with one partition."""

    def __init__(self) -> None:
        self.asking, self.outbox, self.finished = ScriptedProviders(), Outbox(), dict[int, int]()
        known = settler(registry(capability()), self.asking, self.outbox)
        self.engine = CallEngine(
            known, max_in_flight=1, done=self.finished.__setitem__, crash=lambda error: pytest.fail(str(error))
        )
        self.engine.own([0])
        self.engine.ready(0)

    async def until(self, offset: int) -> None:
        async with asyncio.timeout(5):
            while self.finished.get(0) != offset:
                await asyncio.sleep(0.001)


async def test_executors_leave_a_local_call_alone_until_its_outcome_comes() -> None:
    """It takes no slot meanwhile, whatever is resumed."""
    rig = Executors()
    await rig.engine.deliver(0, [(0, requested("local", local=True)), (1, requested("remote"))])
    async with asyncio.timeout(5):
        while not rig.outbox.commands:
            await asyncio.sleep(0.001)
    rig.engine.resumed()
    await asyncio.sleep(0)

    assert (rig.asking.asked, rig.finished[0]) == (["one"], 0)
    await rig.engine.deliver(0, [(2, call_event("CallCompleted", "local", local=True))])
    await rig.until(3)
    assert rig.asking.asked == ["one"]
    assert not rig.engine._parked


async def test_executors_take_a_local_call_over_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever was to make it is gone. That others are resumed meanwhile puts nothing off."""
    monkeypatch.setattr(settle, "LOCAL_SLACK_S", 0.01)
    rig = Executors()
    await rig.engine.deliver(0, [(0, requested("local", local=True, timeout_ms=10))])
    async with asyncio.timeout(5):
        while rig.finished.get(0) != 1:
            rig.engine.resumed()
            await asyncio.sleep(0.001)

    assert (rig.asking.asked, rig.outbox.kinds()) == (["one"], ["CompleteCall"])
