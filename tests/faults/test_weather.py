"""Processes that stand still, are far away, come, go, or have a wrong clock, with kills among it: the promises hold.

``SEEDS=1-100`` (`make chaos`) tries many, each on a platform of its own; one short trial by default.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Final

import pytest

from backplane.platform.platform import LocalPlatform
from tests.support.chaos.journal import payments
from tests.support.chaos.payers import Payers
from tests.support.chaos.platform import AgentsProcess, laned
from tests.support.chaos.registers import Registers
from tests.support.chaos.schedule import AGENTS, Killer
from tests.support.chaos.trial import judge, summary, trial
from tests.support.chaos.weather import Weather, guest_environment, plan

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SEEDS: Final = os.environ.get("SEEDS", "")
FAULTS: Final = int(os.environ.get("FAULTS", "24" if SEEDS else "8"))
LONGEST_S: Final = 30.0 if SEEDS else 7.0


def _seeds() -> list[int]:
    found: list[int] = []
    for part in (SEEDS or "1").split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


@pytest.mark.parametrize("seed", _seeds())
async def test_promises_hold_in_any_weather(seed: int, tmp_path: Path) -> None:
    """Effects once by the provider's count, what was acknowledged is there, each register's history is that of one
    copy, and each message has one end."""
    faults = plan(seed, FAULTS, LONGEST_S)
    print(f"SEEDS={seed}", *faults, sep="\n  ")
    with laned(tmp_path / "weather", seed) as (platform, lanes):
        settings = platform.settings
        agents = {
            name: AgentsProcess(settings.data_dir, name, env=_way(platform, lanes[f"lane-{number}"].port))
            for number, name in enumerate(AGENTS, 1)
        }
        registers, payers = Registers(seed), Payers(seed)
        happened: dict[str, int] = {}

        async def deeds(killer: Killer) -> None:
            weather = Weather(platform, killer, agents, lanes)
            await weather.carry_out(faults)
            happened.update(weather.happened)

        outcome = await trial(platform, seed, deeds, agents=agents, beside=(registers, payers))
        effects = await asyncio.to_thread(payments, settings.data_dir)
    print(summary(outcome, seed), happened, f"{len(effects)} effects, {len(registers.histories)} registers")
    more = {"effects once": payers.complaints(effects), "registers": registers.complaints()}
    judge(outcome, more, zombies=True)
    assert sum(happened.values()) == FAULTS
    assert effects
    assert registers.histories


def _way(platform: LocalPlatform, port: int) -> dict[str, str]:
    return {**guest_environment(platform), "BACKPLANE_KAFKA__BOOTSTRAP_SERVERS": f"127.0.0.1:{port}"}
