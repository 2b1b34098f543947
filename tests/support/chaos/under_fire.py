"""Two processes of some agents, one of which is killed again and again."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Final

from agents_sdk import Agent, AsyncBackplane, Settings
from agents_sdk.history import read_run
from agents_sdk.run import AsyncRun
from agents_sdk.runner import register
from agents_sdk.topics import MESSAGES
from agents_sdk.wire.codec import Codec
from agents_sdk.wire.topics_admin import ensure_inbox
from backplane.platform.platform import LocalPlatform
from tests.support.chaos.platform import AgentsProcess
from tests.support.chaos.schedule import Killer
from tests.support.eventually import assert_soon

LIMIT_S: Final = 300.0
LOOK_S: Final = 0.25
"""Between two looks at a run: each is a command to the ledgers that are killed, and a fact."""


async def all_handled(settings: Settings, codec: Codec, run: AsyncRun, agent: str, last_key: str, count: int) -> None:
    """Waits until the last of ``count`` handlers of ``agent`` has written its key, and then until all of them have
    ended: what a handler does comes before its end, and a run that is completed in between ends without it."""

    async def written() -> None:
        assert await run.state.get(last_key) is not None

    async def ended() -> None:
        facts = await asyncio.to_thread(read_run, settings, codec, run.id, [MESSAGES])
        assert sum(fact.kind == "HandlerCompleted" and fact.recipient == agent for fact in facts) == count  # type: ignore[attr-defined]  # the topic says they are of messages

    await assert_soon(written, LIMIT_S, LOOK_S)
    await assert_soon(ended, LIMIT_S, LOOK_S)


async def hit(killer: Killer, times: int) -> None:
    """Waits until so many have been killed: work that is begun behind it is there for the next kill, however fast the
    machine is."""

    async def counted() -> None:
        assert len(killer.hits) >= times

    await assert_soon(counted, LIMIT_S)


@contextlib.asynccontextmanager
async def under_fire(
    platform: LocalPlatform, *parts: str, module: str, agents: Sequence[Agent], seed: int, kills: int
) -> AsyncIterator[tuple[AsyncBackplane, Killer]]:
    """Two processes of ``module``; one of them, or of ``parts``, is killed, ``kills`` times at most, while it lasts.
    ``agents`` are registered before."""
    names = ("first", "second")
    data_dir = platform.settings.data_dir
    processes = {name: AgentsProcess(data_dir, f"{module}-{name}", instance=name, module=module) for name in names}
    killer, chance = Killer(platform, processes), random.Random(seed)

    async def ready(victim: str) -> None:
        """Work is done between two kills, however long a process takes to start on a busy machine."""
        assert victim not in processes or processes[victim].ready()

    async def kill() -> None:
        for _ in range(kills):
            victim = chance.choice((*names, *parts))
            await killer.back(victim)
            await assert_soon(partial(ready, victim), 120)
            await asyncio.sleep(chance.uniform(0.1, 1.0))
            killer.kill(victim)

    with contextlib.ExitStack() as stack:
        async with AsyncBackplane.connect(platform.settings, name="witness") as backplane:
            for agent in agents:
                # as its process does: a delivery for an agent without an inbox is a dead letter soon
                await asyncio.to_thread(ensure_inbox, platform.settings, agent.name)
                await register(backplane.transport, agent)
            for process in processes.values():
                stack.callback(process.kill)
                process.start()
            killing = asyncio.create_task(kill())
            try:
                yield backplane, killer
            finally:
                killing.cancel()
                await asyncio.gather(killing, return_exceptions=True)
