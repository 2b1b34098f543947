"""Work that kills the process that does it: a call its executor, a message its agent's process. It is put aside, with a
recorded failure, and all other work goes on. Never an endless restart."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from agents_sdk import AsyncBackplane, CallFailed, Settings
from agents_sdk.core.facts import MessageEvent
from agents_sdk.history import read_run
from agents_sdk.topics import CALLS, dead_letter
from agents_sdk.wire.dead_letters import read_dead_letter
from agents_sdk.wire.registry import connect_codec
from backplane.platform import status
from backplane.platform.platform import LocalPlatform
from tests.support.chaos.log import read
from tests.support.deadly.platform import ROOT
from tests.support.prepared import Prepared

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
SUPPORT: Final = Path(__file__).parents[1] / "support" / "deadly"


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, prepared: Prepared) -> Iterator[LocalPlatform]:
    """One ledger, one executor."""
    made = LocalPlatform(
        prepared.copy(tmp_path_factory.mktemp("deadly")),
        parts=("kafka", "registry", "topics", "ledger", "executor"),
        env={"BACKPLANE_CAPABILITIES__PATHS": str(SUPPORT / "capabilities"), "PYTHONPATH": str(ROOT)},
        table="tests.support.deadly.platform:TABLE",
    )
    with made as running:
        yield running


def restarts(platform: LocalPlatform) -> int:
    """How often the executor was started again."""
    return int(next(one["restarts"] for one in status.read(platform.layout)["parts"] if one["part"] == "executor"))


@pytest.mark.parametrize(
    ("capability", "how", "deaths", "code"),
    [
        ("end", "exit", 2, "executor_died"),
        ("end", "crash", 2, "executor_died"),
        ("end", "hang", 2, "executor_died"),
        ("end_unsafe", "exit", 1, "outcome_unknown"),
    ],
)
async def test_a_call_that_kills_its_executor(
    platform: LocalPlatform, tmp_path: Path, capability: str, how: str, deaths: int, code: str
) -> None:
    """It fails after its deaths, with a code, a dead letter and an alarm; calls beside it are answered. Where they were
    there at each death, it takes another death or two to tell which one kills."""
    before = await asyncio.to_thread(restarts, platform)
    journal = tmp_path / "journal"
    async with AsyncBackplane.connect(platform.settings) as backplane:
        run = await backplane.start_run("deadly-calls", complete_when="explicit")
        told = asyncio.create_task(run.execute(capability, {"how": how, "journal": str(journal)}, timeout_seconds=120))
        beside = [asyncio.create_task(run.execute("echo", {"n": n})) for n in range(20)]
        with pytest.raises(CallFailed) as failed:
            await told
        results = await asyncio.gather(*beside)
        after = await run.execute("echo", {"n": "after"})

    assert failed.value.fields["error_code"] == code, failed.value.fields
    assert [one.result["params"]["n"] for one in results] == list(range(20))
    assert after.result["params"] == {"n": "after"}
    died = len(journal.read_text().splitlines())
    assert deaths <= died <= deaths + 2
    assert await asyncio.to_thread(restarts, platform) - before == died
    if code == "executor_died":
        found = await asyncio.to_thread(status.read, platform.layout)
        notices = [one["what"] for one in found["notices"]]
        assert any(f"of {capability} is put aside: {died} executors died" in what for what in notices), notices
    letters = [read_dead_letter(one.headers) for one in read(platform.settings, [dead_letter(CALLS)])]
    assert letters


@contextmanager
def agents(settings: Settings) -> Iterator[list[int]]:
    """``backplane agents run``, started again whenever it ends, as an operator's supervisor does; its exit codes."""
    command = [sys.executable, "-m", "backplane.cli.app", "agents", "run", str(SUPPORT / "agents.py")]
    codes: list[int] = []
    stopping = False
    process: subprocess.Popen[str] | None = None
    ready = threading.Event()

    def keep() -> None:
        nonlocal process
        while not stopping:
            process = subprocess.Popen(
                [*command, "--data-dir", str(settings.data_dir)], stderr=subprocess.PIPE, text=True
            )
            assert process.stderr is not None
            if process.stderr.readline().startswith("agents: ready"):
                ready.set()
            process.communicate()
            codes.append(process.returncode)

    thread = threading.Thread(target=keep)
    thread.start()
    try:
        assert ready.wait(60)
        yield codes
    finally:
        stopping = True
        while thread.is_alive():
            if process is not None:
                process.terminate()
            thread.join(0.2)


async def test_a_message_that_kills_its_agent(platform: LocalPlatform, tmp_path: Path) -> None:
    """It is a dead letter that says so; the message behind it is handled. Nobody tells the process how the one before
    it ended: it may have been killed by somebody, so that it takes ten deaths."""
    settings = platform.settings
    with agents(settings) as codes:
        async with AsyncBackplane.connect(settings) as backplane:
            bad = await backplane.start_run("deadly", {"how": "exit", "journal": str(tmp_path / "bad")})
            ended = await bad.wait(120)
            good = await backplane.start_run("deadly", {"how": "", "journal": str(tmp_path / "good")})
            assert (await good.wait(60)).status == "completed"
        died = len(codes)
    assert ended.status == "failed"
    assert died == 10
    assert len((tmp_path / "bad").read_text().splitlines()) == 10
    facts = await asyncio.to_thread(read_run, settings, connect_codec(settings), bad.id, until_ended_s=10.0)
    dead: list[Any] = [one for one in facts if isinstance(one, MessageEvent) and one.kind == "MessageDeadLettered"]
    failed = [one for one in facts if isinstance(one, MessageEvent) and one.kind == "HandlerFailed"]
    assert [one.error_type for one in failed] == ["ProcessDied"] * 2
    assert "10 processes died" in failed[0].error_message
    assert dead
