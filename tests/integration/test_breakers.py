"""Circuit breakers on the real platform: opened by failures, probed once, closed; every transition a fact."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from agents_sdk import AsyncBackplane, CallFailed, Settings
from agents_sdk.operations import CallResult
from backplane.cli.app import run as backplane_cli
from backplane.cli.output import ExitCode
from backplane.platform.platform import LocalPlatform
from backplane.store.queries import connect_store, query
from tests.support.eventually import assert_soon
from tests.support.live_agents import own
from tests.support.prepared import Prepared
from tests.support.troubled.providers import MENDED

pytestmark = pytest.mark.timeout(240)
SUPPORT: Final = Path(__file__).parents[1] / "support" / "troubled"
OF_THE_BREAKERS: Final = """
    SELECT kind, caused_by, executor FROM events WHERE topic = 'bp.breakers' ORDER BY command_offset
"""
FAILED: Final = """
    SELECT count() FROM events
    WHERE kind = 'AttemptFailed' AND has({ids:Array(String)}, concat(call_id, '/', toString(attempt)))
"""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, prepared: Prepared) -> Iterator[Settings]:
    """Of a platform with two executors and capabilities that fail as they are told."""
    target = LocalPlatform(
        prepared.copy(tmp_path_factory.mktemp("breakers")),
        workers={"executor": 2},
        env={"PYTHONPATH": str(SUPPORT.parents[2]), "BACKPLANE_CAPABILITIES__PATHS": str(SUPPORT / "capabilities")},
    )
    with target as platform:
        yield platform.settings


async def test_a_breaker_opens_for_the_fleet_and_is_closed_by_a_probe(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whichever executor a call goes to: no attempt while it is open, then one that closes it; the facts say why."""
    params = {"name": own("p"), "fails": "outage"}
    async with AsyncBackplane.connect(settings) as backplane:
        runs = [await backplane.start_run(own("w"), complete_when="explicit") for _ in range(8)]

        async def ends() -> list[CallResult | CallFailed]:
            found: list[CallResult | CallFailed] = []
            for run in runs:
                try:
                    found.append(await run.execute("brittle", params))
                except CallFailed as failed:
                    found.append(failed)
            return found

        async def refused() -> None:
            codes = {end.fields["error_code"] for end in await ends() if isinstance(end, CallFailed)}
            assert codes == {"no_provider"}

        await assert_soon(refused, 60.0)

        async def shown() -> None:
            code, rows = health(settings, capsys)
            assert code == ExitCode.REFUSED
            (breaker,) = [each["breaker"] for each in rows if each["provider"] == "brittle_one"]
            assert breaker.startswith(("open: outage", "half-open: outage"))

        await assert_soon(shown, 30.0)
        (settings.data_dir / f"{MENDED}-{params['name']}").touch()

        async def works() -> None:
            assert all(isinstance(end, CallResult) and end.attempts == 1 for end in await ends())

        await assert_soon(works, 60.0)
        for run in runs:
            await run.complete()

    async def told() -> None:
        client = connect_store(settings)
        rows = query(client, OF_THE_BREAKERS).result_rows
        assert len(rows) >= 3
        assert [rows[0][0], rows[-2][0], rows[-1][0]] == ["BreakerOpened", "BreakerProbed", "BreakerClosed"]
        assert rows[-2][2] == rows[-1][2]
        assert query(client, FAILED, {"ids": list(rows[0][1])}).result_rows == [(2,)]

    await assert_soon(told, 30.0)


def health(settings: Settings, capsys: pytest.CaptureFixture[str]) -> tuple[int, Any]:
    """``backplane capabilities health``: its exit code and what it shows."""
    capsys.readouterr()
    code = backplane_cli(["capabilities", "health", "--json", "--data-dir", str(settings.data_dir)])
    return code, json.loads(capsys.readouterr().out)
