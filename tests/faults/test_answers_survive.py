"""Six clients have hundreds of writes under way each in one run while its ledger is killed: each write is applied once,
and each client is told of its own. The ledger remembers the answers to all that may be under way together."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from typing import Any, Final

import pytest

from agents_sdk import AsyncBackplane
from agents_sdk.core.commands import StateBody
from agents_sdk.history import read_run
from agents_sdk.wire.registry import connect_codec
from backplane.platform.platform import LocalPlatform
from tests.support.chaos.platform import LEDGERS
from tests.support.chaos.schedule import Killer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]
SEED: Final = int(os.environ.get("SEED", "1"))
CLIENTS: Final = 6
UNDER_WAY: Final = 400
"""Writes that each client has begun and not been answered."""
ROUNDS: Final = int(os.environ.get("FAULT_ROUNDS", "3"))
"""Each with a kill in the middle."""


async def test_every_write_is_applied_once_and_told_as_it_was(platform: LocalPlatform) -> None:
    """A new key each, so that a write that is applied twice has a second version."""
    chance, killer = random.Random(SEED), Killer(platform, {})
    clients = [AsyncBackplane.connect(platform.settings, name=f"writer-{number}") for number in range(CLIENTS)]
    for client in clients:
        await client.open()
    try:
        run = await clients[0].start_run("faults.writing", complete_when="explicit")
        told: dict[str, int] = {}

        async def write(client: AsyncBackplane, key: str) -> None:
            scope = client.scope(run.id)
            command = scope.command("SetState", StateBody(key=key, value="1"))
            told[key] = (await scope.sent(command, None)).version  # however long the ledger takes to come back

        for number in range(ROUNDS):
            names = [f"{number}.{who}.{each}" for who in range(CLIENTS) for each in range(UNDER_WAY)]
            before = len(told)
            writes = [asyncio.ensure_future(write(clients[int(name.split(".")[1])], name)) for name in names]
            wanted = before + chance.randrange(50, len(names) // 2)
            while len(told) < wanted:
                await asyncio.sleep(0.001)
            for victim in LEDGERS:
                killer.kill(victim)
            await asyncio.gather(*(killer.back(victim) for victim in LEDGERS))
            await asyncio.gather(*writes)
        await run.complete()
    finally:
        for client in clients:
            await client.close()
    assert set(told.values()) == {1}
    codec = await asyncio.to_thread(connect_codec, platform.settings)
    facts: list[Any] = await asyncio.to_thread(read_run, platform.settings, codec, run.id, until_ended_s=30)
    written = Counter(fact.key for fact in facts if fact.kind == "StateWritten")
    assert set(written) == set(told)
    assert set(written.values()) == {1}
    # a client that is new asks first, and is granted its rights then
    assert not [fact for fact in facts if fact.kind == "CommandRefused" and fact.code != "not_granted"]
    print(f"SEED={SEED}: {len(told)} writes of {CLIENTS} clients, {len(killer.hits)} kills of ledgers")
