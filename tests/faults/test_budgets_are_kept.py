"""Executors are killed between the attempts of calls with budgets: whoever takes a call over knows what it has cost."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from agents_sdk import AsyncBackplane, BudgetExceeded
from agents_sdk.core.facts import AttemptEvent
from agents_sdk.history import read_run
from agents_sdk.wire.registry import connect_codec
from backplane.cli import app as cli
from backplane.platform.platform import LocalPlatform
from tests.support.chaos.schedule import Killer
from tests.support.eventually import assert_soon
from tests.support.http_server import Reply, Server, serving
from tests.support.prepared import Prepared

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
PRICE: Final = 1_000_000
"""Of an attempt, whether it fails or not, nano-USD: a tenth of a cent."""
ENOUGH_FOR: Final = (1, 2, 3, 4)
"""Attempts that the budget of each call pays for."""
AGAIN_S: Final = 60
"""What the provider asks for between two attempts: room for a kill."""


@pytest.fixture
def provider() -> Iterator[Server]:
    """Never there, and paid for all the same."""
    down = Reply({"error": "come back"}, status=503, headers={"retry-after": str(AGAIN_S)})
    with serving(lambda asked: down) as server:
        yield server


@pytest.fixture
def platform(tmp_path: Path, prepared: Prepared, provider: Server) -> Iterator[LocalPlatform]:
    manifest = {
        "name": "oracle",
        "description": "Costs and does not answer, for the test of budgets.",
        "side_effects": "read",
        "timeout_seconds": 280,
        "retry": {"max_attempts": 10},
        "params": {"type": "object"},
        "result": {"type": "object"},
        "example": {},
        "providers": [
            {
                "name": "down",
                "kind": "http",
                "breaker": {"failures": 0},
                "price": {"id": "test", "per_call_nano_usd": PRICE, "charge_failures": True},
                "request": {
                    "method": "POST",
                    "base_url": {"file": "oracle.url"},
                    "path": "/",
                    "body": {"call": "${call.id}"},
                },
            }
        ],
    }
    parts = ("kafka", "registry", "topics", "ledger", "executor")
    with LocalPlatform(prepared.copy(tmp_path / "budgets"), parts=parts) as started:
        (started.layout.data_dir / "oracle.url").write_text(provider.url)
        folder = tmp_path / "manifests"
        folder.mkdir()
        (folder / "oracle.yaml").write_text(yaml.safe_dump(manifest))
        assert cli.run(["capabilities", "apply", str(folder), "--data-dir", str(started.layout.data_dir)]) == 0
        yield started


async def test_no_call_costs_more_than_its_budget_whoever_makes_its_attempts(
    platform: LocalPlatform, provider: Server
) -> None:
    """Each executor makes one attempt of each call and is killed while it waits for the next: in the end each call had
    as many attempts as its budget pays for, and says that there is no money for another one."""
    settings, killer = platform.settings, Killer(platform, {})
    codec = await asyncio.to_thread(connect_codec, settings)
    async with AsyncBackplane.connect(settings) as backplane:
        run = await backplane.start_run("budgets", complete_when="explicit")
        calls = [asyncio.create_task(run.execute("oracle", {}, budget=f"0.00{number} USD")) for number in ENOUGH_FOR]

        async def attempts() -> Counter[str]:
            facts: list[Any] = await asyncio.to_thread(read_run, settings, codec, run.id)
            made = (fact for fact in facts if isinstance(fact, AttemptEvent) and fact.kind != "AttemptStarted")
            return Counter(fact.call_id for fact in made)

        async def had(lives: int) -> None:
            assert sorted((await attempts()).values()) >= [min(number, lives) for number in ENOUGH_FOR]

        for lives in ENOUGH_FOR:
            await assert_soon(lambda: had(lives), 120)  # noqa: B023
            killer.kill("executor")
            await killer.back("executor")
        ends = await asyncio.gather(*calls, return_exceptions=True)
        recorded = await attempts()
        await run.complete()

    assert all(isinstance(end, BudgetExceeded) for end in ends), ends
    asked = Counter(one.json["call"] for one in provider.asked)
    assert asked == recorded
    assert [asked[str(end.fields["call_id"])] for end in ends if isinstance(end, BudgetExceeded)] == list(ENOUGH_FOR)
