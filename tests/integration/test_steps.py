"""Steps on the real platform: an agent's process is killed between and within its steps, and each is made once."""

from __future__ import annotations

import asyncio
import signal
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from agents_sdk import Agent, AsyncBackplane, Context, Event, NotDone, Settings, StepOutcomeUnknown, step, worker
from agents_sdk.history import read_run
from agents_sdk.wire.registry import connect_codec
from tests.support.live_agents import own, running

pytestmark = pytest.mark.timeout(300)
ANSWER = {"model": "gpt-4o-2024-08-06", "usage": {"prompt_tokens": 1_000, "completion_tokens": 100}}


@pytest.fixture(autouse=True)
def no_drain(monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent that stops does not wait for its handlers: they are interrupted."""
    monkeypatch.setattr(worker, "DRAIN_S", 0.1)


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from agents_sdk import Agent, Context, Event, step

agent = Agent({name!r})
made = Path({made!r})


def effect(name: str) -> str:
    with made.open("a") as file:
        file.write(name + "\\n")
    return name


@step
async def decorated(name: str) -> str:
    return effect(name)


async def tool(ctx: Context, number: int) -> str:
    await asyncio.sleep(0.01 * (5 - number) * (1 + os.getpid() % 3))
    return await ctx.step("tool", effect, f"tool {{number}}")


@agent.on("go")
async def go(ctx: Context, event: Event) -> None:
    numbers = [await ctx.step(f"step {{number}}", effect, f"step {{number}}") for number in range(5)]
    async with asyncio.TaskGroup() as group:
        tools = [group.create_task(tool(ctx, number)) for number in range(5)]
    last = await decorated("last")
    await ctx.state.set("seen", [*numbers, *(one.result() for one in tools), last, str(ctx.uuid()), ctx.random()])
    await ctx.sleep(0.5)
    await ctx.complete_run("done")
"""


async def test_a_process_is_killed_at_any_moment(settings: Settings, tmp_path: Path) -> None:
    """Each step whose end was recorded is made once; one that was cut off is made again; the run is that of one."""
    name, made = own("killed"), tmp_path / "made"
    module = tmp_path / "killed_agent.py"
    module.write_text(textwrap.dedent(KILLED).format(name=name, made=str(made)))
    arguments = ["-m", "backplane.cli.app", "agents", "run", str(module), "--data-dir", str(settings.data_dir)]

    async def started() -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(sys.executable, *arguments, "--instance", name)

    def lines() -> list[str]:
        return made.read_text().splitlines() if made.exists() else []

    process = await started()
    killed = 0
    try:
        async with AsyncBackplane.connect(settings) as backplane:
            run = await backplane.start_run(own("wf"))
            while True:
                try:
                    await run.send(name, "go")
                    break
                except Exception:  # noqa: BLE001  # it is not registered yet
                    await asyncio.sleep(0.2)
            waiting = asyncio.create_task(run.wait(120))
            for reached in (2, 6, 9):
                while len(set(lines())) < reached and not waiting.done():
                    await asyncio.sleep(0.005)
                if waiting.done():
                    break
                process.send_signal(signal.SIGKILL)
                await process.wait()
                killed += 1
                process = await started()
            ended = await waiting
            assert (ended.status, ended.result) == ("completed", "done")
        facts: list[Any] = await asyncio.to_thread(read_run, settings, connect_codec(settings), run.id)
        kinds = [fact.kind for fact in facts]
        assert (kinds.count("CallCompleted"), kinds.count("StateWritten"), kinds.count("MessageParked")) == (12, 1, 0)
        distinct = {*(f"step {n}" for n in range(5)), *(f"tool {n}" for n in range(5)), "last"}
        assert set(lines()) == distinct
        again = len(lines()) - len(distinct)
        print(f"{killed} kills, {again} steps cut off before their end was recorded")
        assert again <= 5 * killed, "at most what ran at the moment of a kill"
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def interrupted(settings: Settings, backplane: AsyncBackplane, agent: Agent, reached: asyncio.Event) -> Any:
    async with running(settings, agent):
        run = await backplane.start_run(own("wf"))
        await run.send(agent.name, "go")
        await asyncio.wait_for(reached.wait(), 60)
    return run


@pytest.mark.parametrize("found", ["unknown", "found", "not done"])
async def test_an_unsafe_step_is_cut_off(settings: Settings, found: str) -> None:
    """Its effect is never made a second time unless somebody says that it did not happen."""
    name, made, reached = own("pays"), list[str](), asyncio.Event()
    agent = Agent(name)

    async def charge() -> str:
        made.append("charge")
        if not reached.is_set():
            reached.set()
            await asyncio.Event().wait()
        return "receipt"

    reconcile = {"unknown": None, "found": lambda: "receipt", "not done": lambda: NotDone}[found]

    @agent.on("go")
    async def go(ctx: Context, event: Event) -> None:
        try:
            paid = await ctx.step("pay", charge, effect="unsafe", timeout=2, reconcile=reconcile)
        except StepOutcomeUnknown:
            paid = "unknown"
        await ctx.complete_run(paid)

    async with AsyncBackplane.connect(settings) as backplane:
        run = await interrupted(settings, backplane, agent, reached)
        async with running(settings, agent):
            ended = await run.wait(60)
    assert ended.result == {"unknown": "unknown"}.get(found, "receipt")
    assert len(made) == (2 if found == "not done" else 1)


async def test_models_are_in_the_books(settings: Settings) -> None:
    """Agent, model, tokens and money of a model that a handler asked by itself, as those of any call."""
    name = own("asks")
    agent = Agent(name)

    @step(prompt="writer@3")
    async def draft(topic: str) -> str:
        step.usage(ANSWER)
        return topic

    @agent.on("go")
    async def go(ctx: Context, event: Event) -> None:
        await draft("cats")
        await ctx.complete_run()

    async with AsyncBackplane.connect(settings) as backplane, running(settings, agent):
        run = await backplane.start_run(own("wf"))
        await run.send(name, "go")
        assert (await run.wait(60)).status == "completed"
    facts: list[Any] = await asyncio.to_thread(read_run, settings, connect_codec(settings), run.id)
    (tried,) = [fact for fact in facts if fact.kind == "AttemptSucceeded"]
    assert (tried.agent, tried.model, tried.prompt_version, tried.input_tokens, tried.cost_nano_usd) == (
        name, "gpt-4o-2024-08-06", "writer@3", 1_000, 3_500_000,
    )  # fmt: skip
