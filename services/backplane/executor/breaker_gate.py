"""Circuit breakers around the attempts of calls: which routes are closed, who probes, and the news for the fleet.
Shell."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, NamedTuple

import msgspec

from agents_sdk.core import kinds
from backplane.executor import reports
from backplane.executor.open_call import OpenCall
from backplane.executor.ports import Clock, Outbox
from backplane.recovery.breakers import Breakers
from backplane.recovery.decide import Call, Route
from backplane.recovery.outcome import AttemptOutcome, Failure

NO_SLOT: Final = "no_slot"
PROBE_SLACK_MS: Final = 5_000
"""A probe is given up so long after its attempt must have ended."""
REFUSED_US: Final = 1_000_000
"""How long nobody here asks again for a probe that was not granted."""


class Probe(NamedTuple):
    """An attempt that finds out whether its provider is back."""

    key: str = ""
    """Of the breaker; empty: it is none."""
    holder: str = ""


NO_PROBE: Final = Probe()


class BreakerGate:
    """Asks the breakers before each attempt and tells them after it."""

    def __init__(self, breakers: Breakers, outbox: Outbox, executor: str, clock: Clock) -> None:
        self._breakers = breakers
        self._outbox = outbox
        self._executor = executor
        self._clock = clock

    def routes(self, call: OpenCall) -> list[Route]:
        """The routes as they stand now: closed where a breaker says so."""
        routes = call.routes
        if not self._breakers.troubled:
            return routes
        now = self._clock.now_us()
        for index, route in enumerate(routes):
            gate = self._breakers.gate(route.capability, route.provider, now)
            closed = route.closed or call.shut.get(index, "") or gate.closed
            if closed:
                routes[index] = replace(route, closed=closed)
        return routes

    async def probe(self, call: OpenCall, step: Call) -> Probe | None:
        """The probe that the attempt is, if its breaker is due; None: it must not be made, somebody else makes it."""
        if not self._breakers.troubled:
            return NO_PROBE
        target = call.targets[step.route]
        route, provider, now = target.route, target.provider, self._clock.now_us()
        assert provider is not None
        gate = self._breakers.gate(route.capability, route.provider, now)
        if not gate.probe:
            return None if gate.closed else NO_PROBE
        holder = f"{self._executor}/{call.assignment}/{call.fact.call_id}/{step.attempt}"
        probe_ms = round(provider.timeout_seconds * 1000) + PROBE_SLACK_MS
        self._breakers.probing(gate.probe, holder, now + probe_ms * 1000)
        command = reports.breaker(call.fact, kinds.PROBE_BREAKER, gate.probe, executor=holder, probe_ms=probe_ms)
        reply = await self._outbox.probe(command)
        if reply is not None and reply.status == "ok":
            return Probe(gate.probe, holder)
        until = msgspec.json.decode(reply.detail)["open_until"] if reply is not None and reply.detail else now
        self._breakers.refused(gate.probe, max(until, now + REFUSED_US))
        call.shut[step.route] = "its breaker is being probed"
        return None

    def note(self, call: OpenCall, step: Call, outcome: AttemptOutcome, probe: Probe) -> None:
        """News from the attempt about its provider, for the breakers and the fleet."""
        target = call.targets[step.route]
        assert target.provider is not None
        rule = target.provider.breaker
        failure = outcome if isinstance(outcome, Failure) else None
        if failure is not None and failure.code == NO_SLOT and not probe.key:
            return  # it was not asked
        change = self._breakers.note(
            target.route.capability,
            target.route.provider,
            failure.error_class if failure else None,
            f"{call.fact.call_id}/{step.attempt}",
            threshold=rule.failures,
            open_for=round(rule.open_seconds * 1e6),
            now=self._clock.now_us(),
            probe=probe.key,
            holder=probe.holder,
        )
        if change is not None:
            limits = {"open_ms": round(rule.open_seconds * 1000)} if change.kind == kinds.OPEN_BREAKER else {}
            executor = change.holder or self._executor
            command = reports.breaker(
                call.fact, change.kind, change.key, caused_by=change.caused_by, executor=executor, **limits
            )
            # after the attempts that it names
            call.durable.append(self._outbox.send([*call.reports, command]))
            call.reports = []
