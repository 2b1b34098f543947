"""A platform with data, and with runs under way, goes on in the next release. Every release has to pass this."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.eventually import assert_eventually
from tests.support.release import FIELD, Release, last_cut, next_release, unpacked

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
AGENTS: Final = """
import asyncio, os
from agents_sdk import Agent

clerk = Agent("clerk", workflows=["orders"], writes=["*"], publishes=["*"])

@clerk.on("run.started")
async def first(ctx, event):
    await ctx.state.set("first", event.data)
    if event.data == "waits" and os.environ.get("HOLD"):
        await asyncio.Event().wait()
    await ctx.state.set("second", await ctx.state.get("first"))
"""


class Platform:
    """One data directory, and the release that runs in it."""

    def __init__(self, home: Path) -> None:
        self.data = home / "data"
        self.agents = home / "agents.py"
        self.agents.write_text(AGENTS)
        self._home = home
        self.release: Release
        self._running: list[subprocess.Popen[bytes]] = []

    def up(self, release: Release, **environment: str) -> None:
        """The platform and its agent."""
        self.release = release
        release.run(self.data, "up", "--detach")
        log = self._home / f"agents-{len(self._running)}.log"
        process = release.process(self.data, "agents", "run", str(self.agents), log=log, **environment)
        self._running.append(process)

        def ready() -> None:
            assert "agents: ready" in log.read_text(), log.read_text()

        assert_eventually(ready, 60)

    def down(self) -> None:
        """The agent is killed as it works; the platform is stopped."""
        for process in self._running:
            process.kill()
            process.wait()
        if self.data.exists():
            self.release.run(self.data, "down")

    def json(self, *arguments: str) -> Any:
        """What a command prints."""
        return json.loads(self.release.run(self.data, *arguments, "--json"))


@pytest.fixture
def platform_(tmp_path: Path) -> Iterator[Platform]:
    """Stopped at the end."""
    made = Platform(tmp_path)
    yield made
    made.down()


def test_data_and_runs_under_way_survive_the_next_release(platform_: Platform, tmp_path: Path) -> None:
    """Written by the release that was cut last; gone on with by this checkout with a field and a migration more."""
    at = platform_
    at.up(unpacked(last_cut(), tmp_path), HOLD="1")
    done = at.json("start", "orders", "--input", '"done"', "--wait")
    assert done["status"] == "completed"
    held = at.json("start", "orders", "--input", '"waits"')["run_id"]
    assert_eventually(lambda: _has(at, held, "first", "waits"), 60)
    at.down()

    at.up(next_release(tmp_path))
    assert_eventually(lambda: _ended(at, held), 90)
    assert at.json("state", "get", held, "second")["value"] == "waits"
    fresh = at.json("start", "orders", "--input", '"fresh"', "--wait")
    assert fresh["status"] == "completed"

    for run in (done["run_id"], held, fresh["run_id"]):
        assert at.json("replay", run)["identical"] is True
    assert at.json("state", "get", done["run_id"], "second")["value"] == "done"
    rows = at.json("sql", f"SELECT run_id, {FIELD} FROM events WHERE kind = 'RunCompleted' ORDER BY at")
    assert [row["run_id"] for row in rows] == [done["run_id"], held, fresh["run_id"]]
    assert {row[FIELD] for row in rows} == {""}
    assert_eventually(lambda: _balanced(at), 60)


def _has(at: Platform, run: str, key: str, value: str) -> None:
    assert at.json("state", "get", run, key)["value"] == value


def _balanced(at: Platform) -> None:
    """The command fails while the store is behind."""
    assert at.json("reconcile")["problems"] == []


def _ended(at: Platform, run: str) -> None:
    assert next(row for row in at.json("runs") if row["run_id"] == run)["status"] == "completed"
