"""Says every few seconds that this executor lives, and which providers it can really ask."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final

from agents_sdk.core.registry import ExecutorBeat, Record
from agents_sdk.errors import BackplaneError
from agents_sdk.registrar import Registrar
from backplane.providers.reach import Endpoint, Reach, endpoint_of

if TYPE_CHECKING:
    from backplane.executor.live import LiveRegistry
    from backplane.providers.fleet import Fleet

log = logging.getLogger("backplane.executor")

PERIOD_S: Final = 5.0
"""Silent for three of them an executor is taken for dead: 15 s, as long as Kafka itself takes at most."""


class Heartbeat:
    """One executor's heart. ``run`` beats until it is cancelled; ``stop`` says that it has ended."""

    def __init__(self, executor: str, live: LiveRegistry, fleet: Fleet, registrar: Registrar) -> None:
        self._executor = executor
        self._live = live
        self._fleet = fleet
        self._registrar = registrar
        self._reach = Reach()
        self._soon = asyncio.Event()
        self._said = 0

    def trigger(self) -> None:
        """The next beat is due now: something changed."""
        self._soon.set()

    async def run(self) -> None:
        """Beats every period, and on request."""
        while True:
            self._soon.clear()
            await self._look()
            try:
                again = self._live.outlived()
                await asyncio.to_thread(self._say, *again)
                self._live.said(*again)
            except BackplaneError as error:
                # calls go on as long as they can; observers see an executor that is silent
                log.warning("no heartbeat: %s", error)
            try:
                async with asyncio.timeout(PERIOD_S):
                    await self._soon.wait()
            except TimeoutError:
                continue

    def _say(self, again: list[Record], removed: list[tuple[type[Record], str, int]]) -> None:
        for kind, key, at in removed:
            self._registrar.remove(kind, key, at)
        self._registrar.put([self._beat(), *again])

    async def stop(self) -> None:
        """Takes the last beat back, if the broker is there."""
        try:
            await asyncio.to_thread(self._registrar.remove, ExecutorBeat, self._executor, self._now())
        except BackplaneError as error:
            log.warning("the last heartbeat stays: %s", error)

    async def _look(self) -> None:
        """Tells the fleet which providers are out of reach."""
        endpoints: dict[tuple[str, str], Endpoint] = {}
        for contract in self._live.registry:
            for provider in contract.capability.providers:
                if not self._fleet.lack(provider):
                    endpoint = endpoint_of(provider, self._fleet.environment, self._fleet.data_dir)
                    if endpoint is not None:
                        endpoints[contract.capability.name, provider.name] = endpoint
        await self._reach.look(endpoints.values())
        down = self._reach.down
        self._fleet.out_of_reach = {who: down[where] for who, where in endpoints.items() if where in down}

    def _now(self) -> int:
        """This machine's time, microseconds UTC; it never stands still: a beat that is not newer would not count."""
        self._said = max(time.time_ns() // 1000, self._said + 1)
        return self._said

    def _beat(self) -> ExecutorBeat:
        ready: list[str] = []
        lacking: list[str] = []
        for contract in self._live.registry:
            name = contract.capability.name
            for provider in contract.capability.providers:
                lack = self._fleet.lack(provider)
                why = f"lacks {lack}" if lack else self._fleet.out_of_reach.get((name, provider.name), "")
                (lacking if why else ready).append(f"{name}/{provider.name}" + (f": {why}" if why else ""))
        return ExecutorBeat(
            executor=self._executor,
            period_ms=int(PERIOD_S * 1000),
            beat_at=self._now(),
            ready=ready,
            lacking=lacking,
            registry_offset=self._live.offset,
        )
