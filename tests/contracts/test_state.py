"""State, memory and contracts on the real platform: nothing lost, unrecorded, or in breach of its contract."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import pytest
from pydantic import BaseModel

from agents_sdk import (
    AsyncBackplane,
    ContractViolated,
    Settings,
    StateContract,
)
from agents_sdk.core.facts import RefusalEvent
from agents_sdk.history import read_run
from agents_sdk.scope import new_id
from agents_sdk.wire.codec import Codec
from agents_sdk.wire.registry import Registry, SchemaRejected, connect_codec
from infra.local.platform import LocalPlatform
from services.replay.recorded import replay_run
from services.topics import contracts

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
MODULE: Final = Path(__file__).parents[1] / "support" / "contract_module.py"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Kafka, the registry and one ledger."""
    with LocalPlatform(tmp_path_factory.mktemp("state"), parts=("kafka", "registry", "topics", "ledger")) as running:
        yield running.settings


@pytest.fixture(scope="module")
def codec(settings: Settings) -> Codec:
    return connect_codec(settings)


@pytest.fixture
async def backplane(settings: Settings) -> AsyncIterator[AsyncBackplane]:
    async with AsyncBackplane.connect(settings, name="tester") as opened:
        yield opened


def own(what: str) -> str:
    return f"{what}-{new_id()[-12:]}"


async def applied(backplane: AsyncBackplane, settings: Settings, *declared: contracts.Contract) -> None:
    """Applies contracts as the command line does."""
    with Registry(settings) as registry:
        found = await asyncio.to_thread(contracts.registered, registry, declared)
    await contracts.apply(backplane.transport, "tester", found)


def cli(settings: Settings, prefix: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "services.cli.app", "contracts", *arguments, "--data-dir", str(settings.data_dir)],
        capture_output=True, text=True, check=False, timeout=60, env={**os.environ, "TEST_CONTRACTS": prefix},
    )  # fmt: skip


async def test_contracts_of_a_module_are_applied_shown_and_held_against(
    backplane: AsyncBackplane, settings: Settings, codec: Codec
) -> None:
    """Dry-run changes nothing; applied, the ledger refuses what breaks them, from whoever it comes; a replay agrees."""
    prefix = own("cli")
    run = await backplane.start_run("contracts", complete_when="explicit")
    dry = await asyncio.to_thread(cli, settings, prefix, "apply", str(MODULE), "--dry-run", "--json")
    assert (dry.returncode, {row["status"] for row in json.loads(dry.stdout)}) == (0, {"new"}), dry.stderr
    await run.state.set(f"{prefix}/findings", "anything")
    done = await asyncio.to_thread(cli, settings, prefix, "apply", str(MODULE), "--json")
    assert done.returncode == 0, done.stderr
    with pytest.raises(ContractViolated) as violated:
        await run.state.set(f"{prefix}/findings", {"sources": [1]})
    assert violated.value.fields["path"] == "sources[0]"
    with pytest.raises(ContractViolated):
        await backplane.comms.publish(f"{prefix}.found", {"count": "many"}, run=run)
    assert await run.state.set(f"{prefix}/log1", "one") == 1
    assert await run.state.get(f"{prefix}/log1") == ["one"]
    await run.complete()

    again = await asyncio.to_thread(cli, settings, prefix, "apply", str(MODULE), "--json")
    assert {row["status"] for row in json.loads(again.stdout)} == {"unchanged"}
    listed = await asyncio.to_thread(cli, settings, prefix, "list", "--json")
    mine = {row["pattern"]: row["reducer"] for row in json.loads(listed.stdout) if prefix in row["pattern"]}
    assert mine[f"{prefix}/log*"] == "append"
    assert len(mine) == 4
    shown = await asyncio.to_thread(cli, settings, prefix, "show", f"{prefix}.found", "--json")
    assert json.loads(shown.stdout)["schema"]["required"] == ["count"]
    facts = read_run(settings, codec, run.id, until_ended_s=10)
    assert [fact.code for fact in facts if isinstance(fact, RefusalEvent)] == ["contract", "contract"]
    assert replay_run(settings, codec, run.id).identical


class Before(BaseModel):
    sources: list[str]


class Wider(Before):
    note: str = ""


class Stricter(Before):
    author: str


async def test_an_incompatible_contract_is_refused_before_the_ledger_hears_of_it(
    backplane: AsyncBackplane, settings: Settings
) -> None:
    """The registry compares with all versions; the old contract goes on holding."""
    key = own("typed")
    await applied(backplane, settings, StateContract(key, dict[str, int]))
    with pytest.raises(SchemaRejected) as rejected:
        await applied(backplane, settings, StateContract(own("innocent"), int), StateContract(key, dict[str, str]))
    assert key in rejected.value.message
    run = await backplane.start_run("contracts", complete_when="explicit")
    assert await run.state.set(key, {"a": 1}) == 1
    grown = own("grown")
    await applied(backplane, settings, StateContract(grown, Before))
    await applied(backplane, settings, StateContract(grown, Wider))
    with pytest.raises(SchemaRejected):
        await applied(backplane, settings, StateContract(grown, Stricter))
    await run.complete()
