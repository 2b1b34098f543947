"""``backplane dlq`` on the real platform: what died is listed with its cause, put back, and then listed no more."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from agents_sdk import Agent, AsyncBackplane, Context, Event, Settings
from agents_sdk.scope import new_id
from backplane.cli.app import run as backplane_cli
from backplane.cli.output import ExitCode
from tests.support.eventually import assert_eventually
from tests.support.ledgers import put
from tests.support.live_agents import own, running

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def cli(settings: Settings, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Runs a ``backplane`` command; its exit code and the JSON it prints."""

    def run(*arguments: str) -> tuple[int, Any]:
        capsys.readouterr()
        code = backplane_cli([*arguments, "--data-dir", str(settings.data_dir)])
        printed = capsys.readouterr()
        return code, json.loads(printed.out) if printed.out.startswith(("[", "{")) else printed.err

    return run


def test_a_message_that_came_too_late_is_redriven_while_its_run_lives(
    settings: Settings, cli: Callable[..., Any]
) -> None:
    """Listed with its cause; dry, nothing changes; redriven it is handled, and gone from the list."""
    agent = Agent(own("late"))
    heard: list[Any] = []

    @agent.on("go")
    async def note(ctx: Context, event: Event) -> None:
        heard.append((event.data, event.attempt))

    async def die() -> str:
        async with running(settings, agent):
            pass
        async with AsyncBackplane.connect(settings) as backplane:
            run = await backplane.start_run(own("w"), complete_when="explicit")
            await run.send(agent.name, "go", {"n": 1}, deadline_seconds=0.01)
            return run.id

    run = asyncio.run(die())

    def listed() -> Any:
        code, rows = cli("dlq", "list", "--run", run, "--json")
        assert code == 0
        assert len(rows) == 1
        return rows[0]

    row = assert_eventually(listed)
    assert (row["cause"], row["agent"], row["name"]) == ("expired", agent.name, "go")
    assert cli("dlq", "list", "--run", run, "--by", "cause", "--json")[1] == [{"cause": "expired", "letters": 1}]
    code, shown = cli("dlq", "show", row["id"])
    assert (code, shown["record"]["data"], shown["not_redrivable"]) == (0, '{"n":1}', "")
    code, rows = cli("dlq", "redrive", row["id"], "--dry-run", "--json")
    assert (code, rows[0]["done"]) == (0, "would be")
    code, rows = cli("dlq", "redrive", "--by", "cause", "--run", run, "--dry-run", "--json")
    assert (code, rows) == (0, [{"cause": row["cause"], "done": "would be", "letters": 1}])
    assert listed()["id"] == row["id"]

    async def redrive() -> None:
        async with running(settings, agent):
            code, rows = await asyncio.to_thread(cli, "dlq", "redrive", "--run", run, "--json")
            assert (code, rows[0]["done"]) == (0, "redriven")
            await asyncio.to_thread(assert_eventually, lambda: _equal(heard, [({"n": 1}, 1)]))

    asyncio.run(redrive())
    assert_eventually(lambda: _equal(cli("dlq", "list", "--run", run, "--json")[1], []))
    assert cli("dlq", "show", row["id"])[0] == ExitCode.NOT_FOUND


def test_a_dead_letter_of_a_run_that_ended_is_refused_and_stays(settings: Settings, cli: Callable[..., Any]) -> None:
    """The refusal says so, and the exit code."""
    agent = Agent(own("broken"), max_deliveries=1)

    @agent.on("go")
    async def fail(ctx: Context, event: Event) -> None:
        raise LookupError("never")

    async def die() -> str:
        async with running(settings, agent), AsyncBackplane.connect(settings) as backplane:
            run = await backplane.start_run(own("w"))
            await run.send(agent.name, "go")
            assert (await run.wait(30)).status == "failed"
            return run.id

    run = asyncio.run(die())
    code, rows = assert_eventually(lambda: _found(cli("dlq", "redrive", "--run", run, "--json")))
    assert (code, rows[0]["done"], rows[0]["cause"]) == (ExitCode.REFUSED, "refused", "handler_failed")
    assert "ended" in rows[0]["why"]
    assert len(cli("dlq", "list", "--run", run, "--json")[1]) == 1


def test_a_command_that_cannot_be_decoded_is_written_again_and_counted(
    settings: Settings, cli: Callable[..., Any]
) -> None:
    """It dies again: the list has the new letter only, which knows how often it came back."""
    run = new_id()
    put(settings, [{"value": b"no command", "key": run.encode()}])
    first = assert_eventually(lambda: _found(cli("dlq", "list", "--run", run, "--json")))[1][0]
    assert (first["cause"], first["topic"]) == ("undecodable", "bp.commands")
    assert cli("dlq", "redrive", first["id"], "--json")[0] == 0

    def again() -> Any:
        rows = cli("dlq", "list", "--run", run, "--json")[1]
        assert [row["id"] == first["id"] for row in rows] == [False]
        return rows[0]

    shown = cli("dlq", "show", assert_eventually(again)["id"])[1]
    assert (shown["redrives"], shown["value_hex"]) == (1, b"no command".hex())


def test_what_waits_in_an_inbox_is_seen_in_the_status(settings: Settings, cli: Callable[..., Any]) -> None:
    """By agent; gone when it is handled or its run has ended."""
    agent = Agent(own("absent"))

    @agent.on("go")
    async def never(ctx: Context, event: Event) -> None:
        """Does not run here."""

    async def wait() -> str:
        async with running(settings, agent):
            pass
        async with AsyncBackplane.connect(settings) as backplane:
            run = await backplane.start_run(own("w"), complete_when="explicit")
            for _ in range(3):
                await run.send(agent.name, "go")
            return run.id

    run = asyncio.run(wait())
    assert cli("status", "--json")[1]["inboxes"][agent.name] == 3

    async def end() -> None:
        async with AsyncBackplane.connect(settings) as backplane:
            await backplane.run(run).cancel()

    asyncio.run(end())
    assert agent.name not in cli("status", "--json")[1]["inboxes"]


def _equal(found: Any, expected: Any) -> None:
    assert found == expected


def _found(answer: tuple[int, Any]) -> tuple[int, Any]:
    assert answer[1], answer
    return answer
