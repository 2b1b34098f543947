"""Clients that ask for as much as they can, beside one that asks for little, and an agent that is slow."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

import psutil

from agents_sdk import Agent, AsyncBackplane, Context, Event, Overloaded, Settings, Unanswered, Unreachable
from agents_sdk.run import AsyncRun
from agents_sdk.window import Window
from tests.support.live_agents import own, running

KEYS: Final = 20
SLOW_S: Final = 0.5
"""What the agent takes for a message, of which twice as many come."""
SAMPLE_S: Final = 1.0


@dataclass
class Flood:
    """What came of it."""

    acknowledged: int = 0
    overloaded: int = 0
    retry_after_s: list[float] = field(default_factory=list)
    unknown: int = 0
    most_waiting: int = 0
    """Commands that one client had waiting for room, at most."""
    quiet_s: list[float] = field(default_factory=list)
    """What the answers of the client that asks for little took."""
    recovered_s: float = 0.0
    """From the end of the flood until that client was answered within a quarter of a second, five times in a row."""
    rss_mb: list[dict[str, int]] = field(default_factory=list)
    """Part → resident memory, one sample a second."""
    wrong: list[str] = field(default_factory=list)
    """Writes that were acknowledged and are not there, and messages that have no end."""


async def flood(
    settings: Settings, pids: dict[str, int], *, clients: int, seconds: float, each: int, max_waiting: int
) -> Flood:
    """``clients`` connections with ``each`` writers, for so long; then what is there is held against what was said."""
    found = Flood()
    slow = Agent(own("slow"), workflows=["faults.flood"])
    handled: Counter[int] = Counter()

    @slow.on("task")
    async def work(ctx: Context, event: Event) -> None:
        await asyncio.sleep(SLOW_S)
        handled[event.data] += 1

    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(running(settings, slow))
        quiet = await stack.enter_async_context(AsyncBackplane.connect(settings, "quiet"))
        loud = [
            await stack.enter_async_context(AsyncBackplane.connect(settings, f"loud-{number}"))
            for number in range(clients)
        ]
        for one in loud:
            one.transport._window = Window(max_waiting=max_waiting)
        runs = [await one.start_run("faults.flood", complete_when="explicit") for one in (quiet, *loud)]
        ends = time.monotonic() + seconds
        acked: list[Counter[str]] = [Counter() for _ in loud]
        unknown: list[Counter[str]] = [Counter() for _ in loud]
        sampling = asyncio.create_task(_sample(pids, loud, found))
        sent = asyncio.create_task(_messages(quiet, runs[0], slow.name, ends))
        watching = asyncio.create_task(_quiet(runs[0], ends, found))
        await asyncio.gather(
            *(
                _writer(run, ends, acked[number], unknown[number], found, random.Random(number * each + writer))
                for number, run in enumerate(runs[1:])
                for writer in range(each)
            )
        )
        await watching
        await _recovery(runs[0], found)
        sampling.cancel()
        await _judge(runs[1:], acked, unknown, found)
        count = await sent
        await _handled(handled, count, found)
        await asyncio.gather(*(run.complete() for run in runs))
    return found


async def _writer(
    run: AsyncRun, ends: float, acked: Counter[str], unknown: Counter[str], found: Flood, chance: random.Random
) -> None:
    while time.monotonic() < ends:
        key = f"k{chance.randrange(KEYS)}"
        try:
            await run.state.set(key, "x" * 200)
        except Overloaded as error:
            found.overloaded += 1
            found.retry_after_s.append(error.retry_after)
            await asyncio.sleep(min(error.retry_after, 1.0))
        except (Unanswered, Unreachable):
            unknown[key] += 1
            found.unknown += 1
        else:
            acked[key] += 1
            found.acknowledged += 1


async def _messages(backplane: AsyncBackplane, run: AsyncRun, agent: str, ends: float) -> int:
    count = 0
    while time.monotonic() < ends:
        await run.send(agent, "task", count)
        count += 1
        await asyncio.sleep(SLOW_S / 2)
    return count


async def _quiet(run: AsyncRun, ends: float, found: Flood) -> None:
    while time.monotonic() < ends:
        began = time.monotonic()
        await run.state.set("quiet", 1)
        found.quiet_s.append(time.monotonic() - began)
        await asyncio.sleep(0.1)


async def _recovery(run: AsyncRun, found: Flood) -> None:
    began, in_a_row = time.monotonic(), 0
    while in_a_row < 5 and time.monotonic() - began < 120:
        asked = time.monotonic()
        await run.state.set("quiet", 2)
        in_a_row = in_a_row + 1 if time.monotonic() - asked < 0.25 else 0
    found.recovered_s = time.monotonic() - began


async def _sample(pids: dict[str, int], loud: list[AsyncBackplane], found: Flood) -> None:
    while True:
        found.most_waiting = max(found.most_waiting, *(len(one.transport._queue) for one in loud))
        with contextlib.suppress(psutil.Error):
            sizes = {name: psutil.Process(pid).memory_info().rss // 2**20 for name, pid in pids.items()}
            found.rss_mb.append({**sizes, "clients": psutil.Process().memory_info().rss // 2**20})
        await asyncio.sleep(SAMPLE_S)


async def _judge(runs: list[AsyncRun], acked: list[Counter[str]], unknown: list[Counter[str]], found: Flood) -> None:
    """A key's version counts its writes: those that were acknowledged, and at most those of unknown outcome more."""
    for run, known, maybe in zip(runs, acked, unknown, strict=True):
        for key in known | maybe:
            version = (await run.state.entry(key)).version
            if not known[key] <= version <= known[key] + maybe[key]:
                found.wrong.append(
                    f"{run.id} {key}: version {version}, {known[key]} acknowledged, {maybe[key]} unknown"
                )


async def _handled(handled: Counter[int], count: int, found: Flood) -> None:
    ends = time.monotonic() + count * SLOW_S + 60
    while len(handled) < count and time.monotonic() < ends:
        await asyncio.sleep(0.2)
    missing = [number for number in range(count) if handled[number] != 1]
    if missing:
        found.wrong.append(f"messages not handled once: {missing[:20]}")
