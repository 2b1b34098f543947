"""Forty runs in flight: clients that write, count and call, and runs that agents work in. Every answer is kept."""

from __future__ import annotations

import asyncio
import os
import random
import time
from dataclasses import dataclass, field
from typing import Any, Final

from agents_sdk import AsyncBackplane, CallFailed, VersionConflict
from agents_sdk.core.commands import Command
from agents_sdk.core.facts import Reply
from tests.support.chaos.agents import SIDES
from tests.support.chaos.laws import ClientReport

CLIENT_RUNS: Final = 28
AGENT_RUNS: Final = 12
COUNTER: Final = "count"
END_LIMIT_S: Final = 200.0
"""For a run to end after the last kill."""
PATIENCE_S: Final = 150.0
"""For one answer: what is tested here is that answers are right; a busy machine may take its time."""
PAUSE_S: Final = float(os.environ.get("FAULT_PAUSE", "0.3"))
"""Between two steps of a client, on average. Half of it keeps two processors busy: the long forms do that."""


@dataclass
class Result:
    """What the clients know."""

    told: list[ClientReport] = field(default_factory=list)
    ended: set[str] = field(default_factory=set)
    """Runs that a client was told have ended."""
    relays: dict[str, int] = field(default_factory=dict)
    """Run of agents → its steps on each side."""
    uncertain: int = 0
    """Unsafe calls whose outcome is not known."""


class Workload:
    """Keeps the runs going until ``stop``, then lets each come to its end."""

    def __init__(self, backplane: AsyncBackplane, seed: int) -> None:
        self._backplane = backplane
        self._chance = random.Random(seed)
        self._stop = asyncio.Event()
        self.result = Result()
        self._listen()

    def _listen(self) -> None:
        transport = self._backplane.transport
        request = transport.request

        async def witnessed(command: Command, timeout: float | None, **options: Any) -> Reply:
            asked = time.time()
            reply = await request(command, timeout and max(timeout, PATIENCE_S), **options)
            self.result.told.append(ClientReport(command, reply, asked, time.time()))
            return reply

        transport.request = witnessed  # type: ignore[method-assign]  # every answer passes here

    def stop(self) -> None:
        """No more work; ``run`` returns when all of it has ended."""
        self._stop.set()

    async def run(self) -> None:
        """All runs at once. Raises what one of them was told and should not have been."""
        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENT_RUNS):
                group.create_task(self._client_runs(random.Random(self._chance.random())))
            for number in range(AGENT_RUNS):
                group.create_task(self._agent_runs(number))

    async def _pause(self, chance: random.Random) -> None:
        await asyncio.sleep(chance.uniform(0, 2 * PAUSE_S))

    async def _client_runs(self, chance: random.Random) -> None:
        while not self._stop.is_set():
            run = await self._backplane.start_run("faults.client", complete_when="explicit", state={"notes": []})
            rounds = chance.randrange(5, 30)
            await asyncio.gather(
                self._count(run, chance, rounds),
                self._count(run, chance, rounds),
                self._write(run, chance, rounds),
                self._call(run, chance, max(rounds // 6, 1)),
            )
            await run.complete({"rounds": rounds})
            ended = await run.wait(END_LIMIT_S)
            assert ended.status == "completed", ended
            assert ended.result == {"rounds": rounds}, ended
            self.result.ended.add(run.id)

    async def _count(self, run: Any, chance: random.Random, rounds: int) -> None:
        """Two of these at the same counter: some of their increments are refused."""
        for _ in range(rounds):
            if self._stop.is_set():
                return
            now = await run.state.entry(COUNTER)
            try:
                await run.state.set(COUNTER, (now.value or 0) + 1, expected_version=now.version)
            except VersionConflict:
                continue
            await self._pause(chance)

    async def _write(self, run: Any, chance: random.Random, rounds: int) -> None:
        versions: dict[str, int] = {}
        for number in range(rounds):
            if self._stop.is_set():
                return
            key = f"note.{chance.randrange(3)}"
            match chance.randrange(5):
                case 0:
                    versions[key] = await run.state.delete(key)
                case 1:
                    await run.state.history(key)
                case 2:
                    await run.state.list()
                case _:
                    version = await run.state.set(key, {"number": number})
                    assert version == versions.get(key, 0) + 1, f"{key}: {version} after {versions.get(key)}"
                    versions[key] = version
                    seen = await run.state.entry(key)
                    assert (seen.value, seen.version) == ({"number": number}, version), seen
            await self._pause(chance)

    async def _call(self, run: Any, chance: random.Random, rounds: int) -> None:
        for number in range(rounds):
            if self._stop.is_set():
                return
            params = {"number": number + 1, "takes_s": chance.uniform(0, 0.4)}
            capability = chance.choice(("journal", "transfer"))
            try:
                done = await run.execute(capability, params)
                assert done.result == {"number": number + 1}, done
            except CallFailed as failed:
                if (capability, failed.fields["error_code"]) != ("transfer", "outcome_unknown"):
                    raise
                self.result.uncertain += 1
            await self._pause(chance)

    async def _agent_runs(self, number: int) -> None:
        steps = 2 + number % 3
        while not self._stop.is_set():
            run = await self._backplane.start_run("faults.relay")
            await run.declare_dependency("fault_digest", [f"fault_{side}" for side in SIDES])
            go = {"steps": steps, "number": number, "takes_s": 0.1}
            assert await run.publish("relay.go", go) == len(SIDES)
            self.result.relays[run.id] = steps
            ended = await run.wait(END_LIMIT_S)
            assert (ended.status, ended.reason) == ("completed", "idle"), ended
            self.result.ended.add(run.id)
