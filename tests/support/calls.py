"""Builders for the executor's tests: call facts, capabilities with scripted providers, an outbox that records."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from agents_sdk.core import ids
from agents_sdk.core.commands import Command
from agents_sdk.core.facts import CallEvent, Reply
from agents_sdk.core.ids import CallId, CommandId, RunId
from agents_sdk.recovery import Rank
from backplane.executor.cache import ResultCache
from backplane.executor.ports import Clock
from backplane.executor.reports import ClaimOf
from backplane.executor.settle import Settler
from backplane.manifests.model import Capability, Provider
from backplane.manifests.registry import RegisteredCapability, Registry
from backplane.providers.fleet import Claim
from backplane.recovery.breakers import Breakers
from backplane.recovery.decide import Route
from backplane.recovery.outcome import Answer, AttemptOutcome, AttemptRequest, Failure, Reconciled
from backplane.recovery.ranking import Ranking

Script = Callable[[AttemptRequest], AttemptOutcome]


def requested(call_id: str, capability: str = "probe", params: Any = None, **fields: Any) -> CallEvent:
    """A CallRequested fact."""
    return call_event("CallRequested", call_id, capability=capability, params=ids.canonical(params or {}), **fields)


def call_event(kind: str, call_id: str, **fields: Any) -> CallEvent:
    """A fact about a call of run r."""
    given = {"capability": "probe", **fields}
    return CallEvent(
        event_id=f"event of {call_id}",
        kind=kind,
        run_id=RunId("r"),
        run_seq=1,
        correlation_id="r",
        causation_id="",
        agent="asker",
        at=0,
        command_id=CommandId(call_id),
        command_offset=0,
        call_id=CallId(call_id),
        **given,
    )


def capability(*providers: str, name: str = "probe", **fields: Any) -> Capability:
    """A capability whose providers are Python functions that nobody calls."""
    given: dict[str, Any] = {
        "name": name,
        "description": "A capability of the tests.",
        "side_effects": "read",
        "params": {"type": "object"},
        "result": {"type": "object"},
        "retry": {"wait_initial_seconds": 0.001, "wait_max_seconds": 0.01},
        "providers": [{"name": each, "kind": "python", "function": "a:b"} for each in providers or ("one",)],
    }
    return Capability.model_validate({**given, **fields})


def registry(*capabilities: Capability) -> Registry:
    """These capabilities and no others."""
    return Registry(RegisteredCapability(each, "test.yaml", 7) for each in capabilities)


class Outbox:
    """Records what is sent; ``durable`` unset holds back the acknowledgements."""

    def __init__(self) -> None:
        self.commands: list[Command] = []
        self.answers: list[Reply] = []
        """To the first claims; ``answer`` to the others."""
        self.probes: list[Command] = []
        self.granted: Reply | None = Reply(command_id=CommandId(""), reply_to="", status="ok")
        """What is answered to a probe."""
        self.claims: list[tuple[str, int]] = []
        self.durable = asyncio.Event()
        self.durable.set()
        self.answer = Reply(command_id=CommandId(""), reply_to="", status="ok")

    async def _acknowledged(self) -> None:
        await self.durable.wait()

    def send(self, commands: Sequence[Command]) -> asyncio.Future[None]:
        self.commands += commands
        return asyncio.ensure_future(self._acknowledged())

    async def probe(self, command: Command) -> Reply | None:
        self.probes.append(command)
        return self.granted

    async def claim(self, fact: CallEvent, claim: ClaimOf, route: Route) -> Reply:
        self.claims.append((fact.call_id, claim.number))
        return self.answers.pop(0) if self.answers else self.answer

    def kinds(self) -> list[str]:
        """Kinds of what was sent, in order."""
        return [command.kind for command in self.commands]

    def outcome(self) -> Any:
        """The body of the only outcome."""
        found = [command.outcome for command in self.commands if command.outcome is not None]
        assert len(found) == 1, found
        return found[0]


class ScriptedProviders:
    """Providers by script: a function, or a list of outcomes given one after the other."""

    def __init__(self, **scripts: Script | Sequence[AttemptOutcome]) -> None:
        self.scripts = {name: script if callable(script) else list(script) for name, script in scripts.items()}
        self.asked: list[str] = []
        self.active = 0
        self.most_active = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.says = Reconciled("unknown")
        """Of an attempt made before."""
        self.reconciled: list[tuple[str, int]] = []
        self.skipped: tuple[tuple[str, str], ...] = ()
        self.ranks: list[Rank] = []
        self.observed: list[tuple[str, str]] = []

    def ranking(self, contract: RegisteredCapability, rank: Rank = "declared") -> Ranking:
        self.ranks.append(rank)
        out = {name for name, _ in self.skipped}
        ready = tuple(each.name for each in contract.capability.providers if each.name not in out)
        return Ranking(ready, self.skipped)

    def observe(
        self, contract: RegisteredCapability, provider: Provider, outcome: AttemptOutcome, seconds: float
    ) -> None:
        self.observed.append((provider.name, type(outcome).__name__))

    async def attempt(
        self, contract: RegisteredCapability, provider: Provider, request: AttemptRequest, claim: Claim | None = None
    ) -> AttemptOutcome:
        if claim is not None:
            await claim()
        self.asked.append(provider.name)
        self.active += 1
        self.most_active = max(self.most_active, self.active)
        try:
            await self.gate.wait()
        finally:
            self.active -= 1
        script = self.scripts.get(provider.name)
        if script is None:
            return Answer(result={"from": provider.name})
        return script(request) if callable(script) else script.pop(0)

    async def reconcile(
        self, contract: RegisteredCapability, provider: Provider, request: AttemptRequest
    ) -> Reconciled:
        self.reconciled.append((provider.name, request.attempt))
        return self.says


def failure(error_class: Any = "transient", **fields: Any) -> Failure:
    """A failure with a message."""
    return Failure(**{"error_class": error_class, "code": str(error_class), "message": "no luck", **fields})


def settler(
    known: Registry,
    asking: ScriptedProviders,
    outbox: Outbox,
    *,
    max_result_bytes: int = 1_000,
    clock: Clock | None = None,
    breakers: Breakers | None = None,
    cache: ResultCache | None = None,
) -> Settler:
    """A settler of executor "me"."""
    return Settler(
        known,
        asking,
        outbox,
        executor="me",
        max_result_bytes=max_result_bytes,
        clock=clock or Clock(),
        breakers=breakers,
        cache=cache,
    )
