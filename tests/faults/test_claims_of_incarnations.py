"""The history in which an unsafe effect happened twice, made to happen on the real platform.

1. An executor makes unsafe calls, whose provider takes its time. 2. A second executor joins and gets half of the
partitions; the calls there go on as orphans. 3. The ledger is frozen; the provider answers, and the first executor
sends the outcomes, which are durable and not decided, and forgets the calls. 4. The second executor leaves; the first
one gets the partitions back, reads the calls again, finds no outcome, and claims them as before. 5. The ledger goes on.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from confluent_kafka import TopicPartition

from agents_sdk import AsyncBackplane, CallFailed, Settings
from agents_sdk.core.commands import Command
from agents_sdk.topics import COMMANDS
from agents_sdk.wire.registry import connect_codec
from backplane.platform.platform import LocalPlatform
from backplane.platform.ports import choose
from backplane.runtime import clients
from backplane.runtime.log import read_range
from tests.support.charging.till import Till
from tests.support.eventually import assert_soon
from tests.support.prepared import Prepared

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ROOT: Final = Path(__file__).parents[2]
MANIFESTS: Final = ROOT / "tests" / "support" / "charging" / "patient"
CALLS: Final = 12
"""Over as many runs: some in each partition."""
LIMIT_S: Final = 120.0


class PatientTill(Till):
    """Has its effect at once, and answers when it is told to."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir, 1)
        self.answering = threading.Event()

    def charge(self, call_id: str) -> int:
        number = super().charge(call_id)
        self.answering.wait(LIMIT_S)
        return number


@pytest.fixture
def platform(tmp_path: Path, prepared: Prepared) -> Iterator[LocalPlatform]:
    """One ledger, one executor."""
    made = LocalPlatform(
        prepared.copy(tmp_path / "claims"),
        parts=("kafka", "registry", "topics", "ledger", "executor"),
        env={"BACKPLANE_CAPABILITIES__PATHS": str(MANIFESTS)},
    )
    with made as running:
        yield running


def second_executor(settings: Settings) -> tuple[subprocess.Popen[bytes], int]:
    """One that joins the first, and its port."""
    port = choose(["executor-b"], {})["executor-b"]
    env = {
        **os.environ,
        "BACKPLANE_KAFKA__BOOTSTRAP_SERVERS": settings.kafka["bootstrap.servers"],
        "BACKPLANE_REGISTRY__URL": settings.registry.url,
        "BACKPLANE_IDENTITY__KEYS_DIR": str(settings.identity.keys_dir),
        "BACKPLANE_IDENTITY__MASTER_FILE": str(settings.identity.master_file),
        "BACKPLANE_CAPABILITIES__PATHS": str(MANIFESTS),
    }
    command = [sys.executable, "-m", "backplane.executor", "--data-dir", str(settings.data_dir)]
    with (Path(settings.data_dir) / "logs" / "executor-b.log").open("wb") as log:
        return subprocess.Popen([*command, "--http-port", str(port)], env=env, stdout=log, stderr=log, cwd=ROOT), port


def partitions(port: int) -> set[str]:
    """Those of the executor at this port, when it works."""
    try:
        said: dict[str, Any] = httpx.get(f"http://127.0.0.1:{port}/health", timeout=5).json()
    except httpx.HTTPError as error:
        raise AssertionError(str(error)) from error
    assert said["status"] == "ok"
    return set(said["lag"])


def commands(settings: Settings, kinds: tuple[str, ...]) -> list[Command]:
    """Those of these kinds that are in the log."""
    codec = connect_codec(settings)
    consumer = clients.reader(settings.kafka, isolation_level="read_uncommitted")
    try:
        found = []
        for number in range(settings.topics.partitions):
            end = int(consumer.get_watermark_offsets(TopicPartition(COMMANDS, number), timeout=10)[1])
            for message in read_range(consumer, COMMANDS, number, 0, end):
                command = codec.decode(message.value())
                if isinstance(command, Command) and command.kind in kinds:
                    found.append(command)
        return found
    finally:
        consumer.close()


def claims(settings: Settings) -> list[tuple[str, int]]:
    """Each claim in the log: the end of its executor's name, and the assignment."""
    bodies = [command.attempt for command in commands(settings, ("StartAttempt",))]
    return [(body.executor[-12:], getattr(body, "assignment", 0)) for body in bodies if body is not None]


async def test_no_effect_happens_twice_when_partitions_come_back_before_the_outcome_is_decided(
    platform: LocalPlatform,
) -> None:
    """Each call has its effect once and its result. Both executors have claimed, the first one in two assignments."""
    settings = platform.settings
    till = PatientTill(Path(settings.data_dir))
    first = platform.port("executor")
    with till:
        async with AsyncBackplane.connect(settings) as backplane:
            runs = [await backplane.start_run("charging", complete_when="explicit") for _ in range(CALLS)]
            calls = [asyncio.create_task(run.execute("charge", {})) for run in runs]
            await _until(lambda: len(till.effects) == CALLS)
            other, port = await asyncio.to_thread(second_executor, settings)
            try:
                await _until(lambda: bool(partitions(port)) and len(partitions(first)) < settings.topics.partitions)
                lost = len(partitions(port))
                await _until(lambda: len({name for name, _ in claims(settings)}) == 2)
                os.kill(platform.pid("ledger"), signal.SIGSTOP)
                till.answering.set()
                await _until(lambda: len(commands(settings, ("CompleteCall",))) == CALLS)
                other.terminate()
                await asyncio.to_thread(other.wait, LIMIT_S)
                await _until(lambda: len(partitions(first)) == settings.topics.partitions)
                before = len(claims(settings))
                await _until(lambda: len(claims(settings)) > before)
            finally:
                other.kill()
                os.kill(platform.pid("ledger"), signal.SIGCONT)
            ends = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), LIMIT_S)

        said = claims(settings)
    print(f"{lost} partitions were lost and regained, {len(said)} claims by {sorted(set(said))}")
    assert [end for end in ends if isinstance(end, CallFailed | BaseException)] == []
    assert set(till.effects.values()) == {1}
    assert len(till.effects) == CALLS
    assert len(set(said)) >= 3, "the first executor did not claim in two assignments: nothing was proved"


async def _until(reached: Any) -> None:
    async def look() -> None:
        assert await asyncio.to_thread(reached)

    await assert_soon(look, LIMIT_S, every_s=0.2)
