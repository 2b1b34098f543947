"""Circuit breakers around calls: rerouting, probing, and what the fleet is told."""

from __future__ import annotations

import msgspec

from agents_sdk.core.facts import BreakerEvent, Reply
from agents_sdk.core.ids import CommandId, RunId
from backplane.executor.ports import Clock
from backplane.recovery.breakers import Breakers
from tests.support.calls import Outbox, ScriptedProviders, capability, failure, registry, requested, settler

KEY = RunId("breaker/probe/one/outage")


def strict(*providers: str, failures: int = 2) -> object:
    """A capability whose providers open their breakers soon."""
    listed = [
        {"name": name, "kind": "python", "function": "a:b", "breaker": {"failures": failures, "open_seconds": 60}}
        for name in providers
    ]
    return registry(capability(providers=listed, retry={"max_attempts": 1}))


def heard(kind: str, *, until: int, offset: int = 1, holder: str = "") -> BreakerEvent:
    """What the ledger says about the breaker of provider one."""
    return BreakerEvent(
        event_id="e", kind=kind, run_id=KEY, run_seq=0, correlation_id="", causation_id="", agent="bp.executor", at=0,
        command_id=CommandId("c"), command_offset=offset, capability="probe", provider="one", error_class="outage",
        open_until=until, opened=1, executor=holder,
    )  # fmt: skip


async def test_the_call_after_the_one_that_opened_a_breaker_is_rerouted() -> None:
    """Nobody waits for the ledger; the report says why the provider was not asked, the fleet which attempts did it."""
    asking, outbox, known = ScriptedProviders(one=lambda _: failure("outage")), Outbox(), strict("one", "two")
    settling = settler(known, asking, outbox)  # type: ignore[arg-type]  # a Registry

    for call in ("a", "b", "c"):
        await settling.settle(requested(call))

    assert asking.asked == ["one", "two", "one", "two", "two"]
    (opened,) = [command for command in outbox.commands if command.kind == "OpenBreaker"]
    assert opened.run_id == KEY
    assert opened.breaker is not None
    assert opened.breaker.caused_by == ["a/1", "b/1"]
    assert opened.breaker.open_ms == 60_000


async def test_a_breaker_that_others_opened_counts_here_too() -> None:
    """And where no other provider is left, the failure says until when."""
    asking, outbox, breakers = ScriptedProviders(), Outbox(), Breakers()
    breakers.take(heard("BreakerOpened", until=Clock().now_us() + 60_000_000))

    await settler(strict("one"), asking, outbox, breakers=breakers).settle(requested("c"))  # type: ignore[arg-type]

    assert asking.asked == []
    assert outbox.outcome().error_code == "no_provider"
    assert "its breaker for outage is open until 20" in outbox.outcome().error_message
    (told,) = msgspec.json.decode(outbox.outcome().report)["alternatives"]
    assert told["why_not"].startswith("its breaker for outage is open until 20")


async def test_one_call_probes_a_breaker_that_is_due_and_closes_it() -> None:
    """Its attempt is the probe, under a name of its own; the next calls go as always."""
    asking, outbox, breakers = ScriptedProviders(), Outbox(), Breakers()
    breakers.take(heard("BreakerOpened", until=1))
    settling = settler(strict("one", "two"), asking, outbox, breakers=breakers)  # type: ignore[arg-type]

    await settling.settle(requested("a"))
    await settling.settle(requested("b"))

    assert asking.asked == ["one", "one"]
    (probe,) = outbox.probes
    (closed,) = [command for command in outbox.commands if command.kind == "CloseBreaker"]
    assert probe.breaker is not None
    assert closed.breaker is not None
    assert probe.breaker.executor == closed.breaker.executor == "me/1/a/1"
    assert closed.breaker.caused_by == ["a/1"]


async def test_a_probe_that_fails_opens_the_breaker_again() -> None:
    """The call itself falls back."""
    asking, outbox, breakers = ScriptedProviders(one=[failure("outage")]), Outbox(), Breakers()
    breakers.take(heard("BreakerOpened", until=1))
    settling = settler(strict("one", "two"), asking, outbox, breakers=breakers)  # type: ignore[arg-type]

    await settling.settle(requested("a"))
    await settling.settle(requested("b"))

    assert asking.asked == ["one", "two", "two"]
    assert [command.kind for command in outbox.commands if command.breaker] == ["OpenBreaker"]


async def test_a_probe_that_is_not_granted_is_not_made() -> None:
    """Another executor makes it, or the ledger does not answer: the call goes to the next provider."""
    until = Clock().now_us() + 60_000_000
    taken = Reply(
        command_id=CommandId(""), reply_to="", status="refused", code="breaker_open", detail=f'{{"open_until":{until}}}'
    )
    for answer in (taken, None):
        asking, outbox, breakers = ScriptedProviders(), Outbox(), Breakers()
        breakers.take(heard("BreakerOpened", until=1))
        outbox.granted = answer

        await settler(strict("one", "two"), asking, outbox, breakers=breakers).settle(requested("a"))  # type: ignore[arg-type]

        assert asking.asked == ["two"]
        assert breakers.gate("probe", "one", Clock().now_us()).closed


async def test_the_callers_mistakes_open_no_breaker() -> None:
    """invalid_request and content_refused say nothing about the provider; a breaker of 0 failures never opens."""
    asking, outbox = ScriptedProviders(one=lambda _: failure("invalid_request")), Outbox()
    settling = settler(strict("one"), asking, outbox)  # type: ignore[arg-type]
    never = settler(strict("one", failures=0), ScriptedProviders(one=lambda _: failure("outage")), outbox)  # type: ignore[arg-type]

    for call in range(5):
        await settling.settle(requested(f"a{call}"))
        await never.settle(requested(f"b{call}"))

    assert asking.asked == ["one"] * 5
    assert not [command for command in outbox.commands if command.breaker]


async def test_an_older_fact_does_not_replace_a_newer_one() -> None:
    """Partitions are read side by side, and what was said here is overtaken by what the ledger decided."""
    breakers = Breakers()
    late = Clock().now_us() + 60_000_000
    breakers.take(heard("BreakerClosed", until=0, offset=9))
    breakers.take(heard("BreakerOpened", until=late, offset=5))

    assert breakers.gate("probe", "one", 0).closed == ""

    breakers.take(msgspec.structs.replace(heard("BreakerOpened", until=late, offset=10)))
    assert breakers.gate("probe", "one", 0).closed
