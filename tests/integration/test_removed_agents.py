"""An agent that does not come back, on real servers: it holds its runs up until an operator removes it."""

from __future__ import annotations

import asyncio
import json

import pytest

from agents_sdk import Agent, AsyncBackplane, Context, Event, Settings, Unanswered
from backplane.cli.app import run as cli
from backplane.cli.output import ExitCode
from tests.support.live_agents import own, running


async def test_a_run_ends_once_the_agent_it_waits_for_is_removed(
    settings: Settings, backplane: AsyncBackplane, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its delivery is a dead letter with that cause; the name is free to be registered again."""
    agent = Agent(own("gone"), workflows=[own("left-alone")])

    @agent.on("run.started")
    async def handle(ctx: Context, event: Event) -> None:
        pass

    async with running(settings, agent):
        pass  # registered, and away
    run = await backplane.start_run(agent.workflows[0])
    with pytest.raises(Unanswered):
        await run.wait(timeout=1)

    where = ["--data-dir", str(settings.data_dir)]
    assert await asyncio.to_thread(cli, ["agents", "remove", agent.name, *where]) == ExitCode.OK
    assert (await run.wait(timeout=20)).status == "completed"
    capsys.readouterr()
    assert await asyncio.to_thread(cli, ["dlq", "list", "--run", run.id, "--json", *where]) == ExitCode.OK
    assert [letter["cause"] for letter in json.loads(capsys.readouterr().out)] == ["agent_removed"]

    assert await asyncio.to_thread(cli, ["agents", "remove", agent.name, *where]) == ExitCode.NOT_FOUND
    assert "no agent is registered" in capsys.readouterr().err
    async with running(settings, agent):
        again = await backplane.start_run(agent.workflows[0])
        assert (await again.wait(timeout=20)).status == "completed"
