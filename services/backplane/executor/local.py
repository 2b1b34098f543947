"""Calls made in the agent's own process: the executor's recovery, with the agent's connection as its way to the ledger.

Local calls are those that may begin a second time without harm, and need no other process. That is a capability without
unsafe effects, all of whose providers are Python functions.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Sequence
from functools import cache, partial
from typing import Final

import msgspec

from agents_sdk.artifacts import ArtifactStore
from agents_sdk.core.bounds import within
from agents_sdk.core.commands import Command
from agents_sdk.core.facts import CallEvent, Reply
from agents_sdk.errors import InvalidCommand, Overloaded, Unanswered, Unreachable
from agents_sdk.local import OpenLocalCalls
from agents_sdk.recovery import read_config
from agents_sdk.scope import REQUEST_TIMEOUT_S, Requests
from agents_sdk.settings import Settings
from agents_sdk.transport import Transport
from agents_sdk.wire.codec import Codec
from backplane.executor.live import LiveRegistry
from backplane.executor.open_call import PriorAttempts
from backplane.executor.ports import Clock, ProviderGateway
from backplane.executor.reports import ClaimOf
from backplane.executor.settle import SettledElsewhere, Settler
from backplane.manifests.egress import policy_of
from backplane.manifests.model import environment
from backplane.manifests.python_functions import LOADING, load
from backplane.manifests.registry import Registry, UnknownCapability
from backplane.providers.fleet import Fleet
from backplane.recovery.breakers import Breakers
from backplane.recovery.decide import Route

log = logging.getLogger("backplane.agents")

CLOSE_S: Final = 1.0
"""For calls that nobody waits for any more."""


class LocalCaller:
    """Makes the attempts at calls of some capabilities, for all agents of a process."""

    def __init__(
        self,
        names: Collection[str],
        registry: Registry,
        asking: ProviderGateway,
        requests: Requests,
        max_result_bytes: int,
    ) -> None:
        self._names = frozenset(names)
        self._registry = registry
        self._asking = asking
        self._requests = requests
        self._max_result_bytes = max_result_bytes
        self._breakers = Breakers()
        self._clock = Clock()
        self._under_way: set[asyncio.Task[Reply | None]] = set()

    def takes(self, capability: str, config: str) -> bool:
        """Whether a call is made here."""
        return capability in self._names and not self.unfit(capability, config)

    def unfit(self, capability: str, config: str = "") -> str:
        """Why a call is left to executors, in words; "" where it can be made here."""
        try:
            spec, asked = self._registry.get(capability).capability, read_config(config)
        except (UnknownCapability, InvalidCommand) as error:
            return error.message
        fallback = spec.fallback if asked.fallback is None else asked.fallback
        if spec.side_effects == "unsafe":
            return "its effects are unsafe: after a crash nobody could say whether they happened"
        if (switch := self._registry.switch(capability)).state != "enabled":
            return f"it is {switch.state}"
        if any(each.capability for each in fallback):
            return "it falls back on another capability"
        for provider in spec.providers:
            if not (function := provider.in_process()):
                return f"its provider {provider.name!r} is no Python function"
            if broken := _broken(function):
                return f"the function of its provider {provider.name!r} cannot be loaded: {broken}"
        return ""

    async def settle(self, fact: CallEvent, spent: int, attempts: int) -> Reply | None:
        """As LocalCalls. A call goes on when its caller is cancelled, as one that an executor makes would."""
        task = asyncio.get_running_loop().create_task(self._settled(fact, PriorAttempts(spent, attempts)))
        self._under_way.add(task)
        task.add_done_callback(partial(self._ended, fact))
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Gives calls under way a moment; what is left of them is taken over."""
        if self._under_way:
            _, late = await asyncio.wait(self._under_way, timeout=CLOSE_S)
            for task in late:
                task.cancel()

    async def _settled(self, fact: CallEvent, past: PriorAttempts) -> Reply | None:
        outbox = _Outbox(self._requests, fact.agent)
        settler = Settler(
            self._registry,
            self._asking,
            outbox,
            executor=self._requests.client_id,
            max_result_bytes=self._max_result_bytes,
            clock=self._clock,
            breakers=self._breakers,
        )
        try:
            await settler.settle(fact, past)
        except SettledElsewhere:
            return None
        except (Unanswered, Unreachable, Overloaded):
            raise
        except Exception as error:  # a bug of ours must fail this call, visibly, and no other
            log.exception("call %s met an error of its recovery", fact.call_id)
            await settler.give_up(fact, error)
        return outbox.answer

    def _ended(self, fact: CallEvent, task: asyncio.Task[Reply | None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("call %s is left open: %s", fact.call_id, error)


class _Outbox:
    """One call's way to the ledger: the agent itself reports about it."""

    def __init__(self, requests: Requests, agent: str) -> None:
        self.answer: Reply | None = None
        """The ledger's answer to the outcome."""
        self._requests = requests
        self._agent = agent

    def send(self, commands: Sequence[Command]) -> asyncio.Task[None]:
        """Done when the ledger has answered all of them."""
        return asyncio.get_running_loop().create_task(self._sent(commands))

    async def _sent(self, commands: Sequence[Command]) -> None:
        for command in commands:
            if command.breaker is not None:
                continue  # a function in this process says nothing about the same one in others
            own = msgspec.structs.replace(
                within(command),
                agent=self._agent,
                reply_to=self._requests.client_id,
                reply_partition=self._requests.reply_partition,
            )
            reply = await self._requests.request(own, REQUEST_TIMEOUT_S)
            if command.outcome is not None:
                self.answer = reply

    async def probe(self, command: Command) -> Reply | None:
        """Granted: there is nobody else to probe."""
        return Reply(command_id=command.command_id, reply_to="", status="ok")

    async def claim(self, fact: CallEvent, claim: ClaimOf, route: Route) -> Reply:
        """Refused: the capability's effects have become unsafe since the call began."""
        raise SettledElsewhere(f"{route} is unsafe now")


class _OwnConnections(LocalCaller):
    """With the connections it was opened with."""

    def __init__(self, names: Collection[str], live: LiveRegistry, fleet: Fleet, transport: Transport) -> None:
        super().__init__(names, live.registry, fleet, transport, transport.max_value_bytes)
        self._live = live
        self._fleet = fleet

    async def close(self) -> None:
        await super().close()
        await self._fleet.close()
        await asyncio.to_thread(self._live.close)


def local_calls(names: Collection[str]) -> OpenLocalCalls:
    """How a runner makes calls of these capabilities itself. Opened, it raises Unreachable, TopicsNotApplied,
    KeyUnusable; a capability that cannot be called here is logged, and called elsewhere."""

    async def opened(settings: Settings, codec: Codec, transport: Transport) -> LocalCaller:
        live = LiveRegistry(settings, codec)
        await asyncio.to_thread(live.open, Registry([]), "")
        live.follow(lambda: None)
        store = ArtifactStore(settings.data_dir, settings.artifacts.url)
        fleet = Fleet(settings.data_dir, environment(), live.registry.switch, store, policy_of(settings))
        caller = _OwnConnections(names, live, fleet, transport)
        for name in names:
            if why := caller.unfit(name):
                log.warning("calls of %s are left to executors: %s", name, why)
        return caller

    return opened


@cache
def _broken(function: str) -> str:
    """Why a function cannot be loaded; "" for one that can."""
    try:
        load(function)
    except LOADING as error:
        return str(error)
    return ""
