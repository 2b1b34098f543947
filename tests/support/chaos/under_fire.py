"""Two processes of some agents, one of which is killed again and again."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Sequence
from functools import partial

from agents_sdk import Agent, AsyncBackplane
from agents_sdk.runner import register
from infra.local.platform import LocalPlatform
from tests.support.chaos.platform import AgentsProcess
from tests.support.chaos.schedule import Gunman
from tests.support.eventually import assert_soon


@contextlib.asynccontextmanager
async def under_fire(
    platform: LocalPlatform, *parts: str, module: str, agents: Sequence[Agent], seed: int, kills: int
) -> AsyncIterator[tuple[AsyncBackplane, Gunman]]:
    """Two processes of ``module``; one of them, or of ``parts``, is killed, ``kills`` times at most, while it lasts.
    ``agents`` are registered before."""
    names = ("first", "second")
    data_dir = platform.settings.data_dir
    processes = {name: AgentsProcess(data_dir, f"{module}-{name}", instance=name, module=module) for name in names}
    gunman, chance = Gunman(platform, processes), random.Random(seed)

    async def ready(victim: str) -> None:
        """Work is done between two kills, however long a process takes to start on a busy machine."""
        assert victim not in processes or processes[victim].ready()

    async def shoot() -> None:
        for _ in range(kills):
            victim = chance.choice((*names, *parts))
            await gunman.back(victim)
            await assert_soon(partial(ready, victim), 120)
            await asyncio.sleep(chance.uniform(0.1, 1.0))
            gunman.shoot(victim)

    with contextlib.ExitStack() as stack:
        async with AsyncBackplane.connect(platform.settings, name="witness") as backplane:
            for agent in agents:
                await register(backplane.transport, agent)
            for process in processes.values():
                stack.callback(process.kill)
                process.start()
            shooting = asyncio.create_task(shoot())
            try:
                yield backplane, gunman
            finally:
                shooting.cancel()
                await asyncio.gather(shooting, return_exceptions=True)
