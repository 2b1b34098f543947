"""Agents are killed in the middle of their handlers, and come back with other code, while the ledger is killed too.

Each delivery is parked once, whoever dies. Each is restarted once, though the wish is sent under kills, and its effects
are there once.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from functools import partial
from typing import Any, Final

import pytest

from agents_sdk import AsyncBackplane
from agents_sdk.history import read_run
from agents_sdk.run import AsyncRun
from agents_sdk.runner import register
from agents_sdk.wire.registry import connect_codec
from agents_sdk.wire.topics_admin import ensure_inbox
from backplane.dlq.letters import Letter
from backplane.dlq.log import read_letters
from backplane.platform.platform import LocalPlatform
from tests.support.chaos.changing import changing
from tests.support.chaos.platform import AgentsProcess
from tests.support.chaos.schedule import Killer
from tests.support.eventually import assert_soon

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]
RUNS: Final = int(os.environ.get("FAULT_CHANGES", "20"))
LEDGERS: Final = ("ledger", "ledger-2")
LIMIT_S: Final = 120.0


async def test_changed_code_is_parked_and_restarted_once(platform: LocalPlatform) -> None:
    """Twenty handlers are interrupted by SIGKILL; the other code parks them all; each restart is carried out once."""
    settings = platform.settings
    codec = await asyncio.to_thread(connect_codec, settings)
    old, new = (
        AgentsProcess(settings.data_dir, f"changing-{code}", instance=code, module="changing.py", env={"CODE": code})
        for code in ("old", "new")
    )
    killer = Killer(platform, {})

    async def letters() -> dict[str, Letter]:
        found = await asyncio.to_thread(read_letters, settings, codec)
        return {
            letter.run: letter for letter in found.letters if letter.parked and letter.run in {one.id for one in runs}
        }

    async def all_parked() -> None:
        assert len(await letters()) == RUNS

    async def ledgers_die() -> None:
        for ledger in LEDGERS:
            killer.kill(ledger)
            await killer.back(ledger)

    try:
        async with AsyncBackplane.connect(settings, name="witness") as backplane:
            await asyncio.to_thread(ensure_inbox, settings, changing.name)
            await register(backplane.transport, changing)
            old.start()
            started = (backplane.start_run("faults.changing", complete_when="explicit") for _ in range(RUNS))
            runs = await asyncio.gather(*started)
            await asyncio.gather(*(run.send(changing.name, "go") for run in runs))
            await asyncio.gather(*(assert_soon(partial(_has, run, "draft", "old"), LIMIT_S) for run in runs))
            old.kill()
            new.start()
            await ledgers_die()
            await assert_soon(all_parked, LIMIT_S, 0.5)

            wishes = [run.redrive((await letters())[run.id].delivery_id, restart=True) for run in runs]
            await asyncio.gather(ledgers_die(), *wishes)
            await asyncio.gather(*(assert_soon(partial(_has, run, "config", "new"), LIMIT_S) for run in runs))
            await asyncio.gather(*(assert_soon(partial(_has, run, "draft", "new"), LIMIT_S) for run in runs))
            for run in runs:
                await assert_soon(partial(_handled, settings, codec, run), LIMIT_S, 0.5)
            await asyncio.gather(*(run.complete() for run in runs))
    finally:
        old.kill()
        new.kill()
    for run in runs:
        facts: list[Any] = await asyncio.to_thread(read_run, settings, codec, run.id, until_ended_s=10)
        kinds = Counter(fact.kind for fact in facts)
        assert (kinds["MessageParked"], kinds["MessageRestarted"], kinds["HandlerCompleted"]) == (1, 1, 1), kinds
        assert not kinds["MessageDeadLettered"] + kinds["HandlerFailed"]
        written = [(fact.key, fact.value) for fact in facts if fact.kind == "StateWritten"]
        assert written == [("draft", '"old"'), ("config", '"new"'), ("draft", '"new"')]
        assert [fact.data for fact in facts if fact.kind == "MessagePublished"] == ['"new"']
    assert len(killer.hits) == 2 * len(LEDGERS)


async def _has(run: AsyncRun, key: str, value: str) -> None:
    assert await run.state.get(key) == value


async def _handled(settings: Any, codec: Any, run: AsyncRun) -> None:
    facts = await asyncio.to_thread(read_run, settings, codec, run.id)
    assert "HandlerCompleted" in [fact.kind for fact in facts]
