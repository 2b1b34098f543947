"""The tiers of recovery on the real platform: fallback, degraded result, escalation, dead letter, redrive."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from agents_sdk import Agent, AsyncBackplane, CallFailed, Context, Event, Settings
from agents_sdk.core.facts import CallEvent, Fact
from agents_sdk.history import read_run
from agents_sdk.operations import CallResult
from agents_sdk.wire.registry import connect_codec
from backplane.cli.app import run as backplane_cli
from backplane.platform.platform import LocalPlatform
from tests.support.eventually import assert_eventually
from tests.support.live_agents import own, running
from tests.support.prepared import Prepared
from tests.support.troubled.providers import MENDED

pytestmark = pytest.mark.timeout(180)
SUPPORT: Final = Path(__file__).parents[1] / "support" / "troubled"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, prepared: Prepared) -> Iterator[Settings]:
    """Of a platform with capabilities that fail as they are told; its own, for letters are redriven by cause."""
    target = LocalPlatform(
        prepared.copy(tmp_path_factory.mktemp("troubled")),
        parts=("kafka", "registry", "topics", "ledger", "executor"),
        env={"PYTHONPATH": str(SUPPORT.parents[2]), "BACKPLANE_CAPABILITIES__PATHS": str(SUPPORT / "capabilities")},
    )
    with target as platform:
        yield platform.settings


@pytest.fixture
def cli(settings: Settings, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Runs a ``backplane`` command; its exit code and the JSON it prints."""

    def run(*arguments: str) -> tuple[int, Any]:
        capsys.readouterr()
        code = backplane_cli([*arguments, "--json", "--data-dir", str(settings.data_dir)])
        printed = capsys.readouterr()
        return code, json.loads(printed.out) if printed.out.startswith(("[", "{")) else printed.err

    return run


def mend(settings: Settings, name: str) -> None:
    (settings.data_dir / f"{MENDED}-{name}").touch()


def calls(settings: Settings, run_id: str) -> list[CallEvent]:
    """The facts about the calls of a run that has ended."""
    facts: list[Fact] = read_run(settings, connect_codec(settings), run_id, until_ended_s=20.0)
    return [fact for fact in facts if isinstance(fact, CallEvent)]


async def test_tiers_are_climbed_one_after_the_other(settings: Settings) -> None:
    """Retry, fallback with its mapping, the substitute with its reason, the error with its story."""
    params = {"name": own("p"), "fails": "outage"}
    elsewhere = {"capability": "steady", "params": {"q": "${params.name}"}, "result": {"hits": "${result.found}"}}
    async with AsyncBackplane.connect(settings) as backplane:
        run = await backplane.start_run(own("w"), complete_when="explicit")
        helped = await run.execute_with_recovery("moody", params, {"fallback": [elsewhere]})
        degraded = await run.execute_with_recovery("moody", params, {"degraded_result": {"hits": []}})
        with pytest.raises(CallFailed) as failed:
            await run.execute_with_recovery("moody", params, {"retry": {"max_attempts": 1}})
        await run.complete()

    assert (helped.result, helped.provider, helped.attempts) == ({"hits": [params["name"]]}, "steady_one", 3)
    assert (degraded.result, degraded.degraded, degraded.attempts) == ({"hits": []}, True, 2)
    assert "moody_one outage (2 times)" in degraded.reason
    assert (degraded.said, degraded.said_by) == ("moody_one outage: not today (2 times)", "provider moody_one")
    report = failed.value.fields["report"]
    assert [(each["provider"], each["error_class"]) for each in report["attempts"]] == [("moody_one", "outage")]
    assert "dlq redrive --cause outage" in report["action"]
    marked = [fact for fact in calls(settings, run.id) if fact.kind == "CallCompleted" and fact.degraded]
    assert [(fact.error_class, fact.error_code) for fact in marked] == [("outage", "providers_exhausted")]


async def test_a_supervisor_is_told_the_story_and_redrives_the_call(settings: Settings) -> None:
    """It mends the cause first; the new call names the one it repeats."""
    boss = Agent(own("boss"))
    worker = Agent(own("worker"), supervisor=boss.name)
    params, heard = {"name": own("p"), "fails": "auth"}, asyncio.get_running_loop().create_future()

    @worker.on("go")
    async def work(ctx: Context, event: Event) -> None:
        with pytest.raises(CallFailed):
            await ctx.execute("moody", params)

    @boss.on("escalation.raised")
    async def help_out(ctx: Context, event: Event) -> None:
        mend(settings, event.data["params"]["name"])
        again = await ctx.redrive_call(event.data["call_id"])
        heard.set_result((event.data, again.result))

    async with running(settings, boss, worker), AsyncBackplane.connect(settings) as backplane:
        run = await backplane.start_run(own("w"), complete_when="explicit")
        await run.send(worker.name, "go")
        story, result = await asyncio.wait_for(heard, 60)
        await run.complete()

    assert (story["agent"], story["cause"], story["name"]) == (worker.name, "auth", "moody")
    assert story["report"]["attempts"][0]["message"] == "not today"
    assert result == {"hits": [params["name"]]}
    facts = calls(settings, run.id)
    (redriven,) = [fact for fact in facts if fact.kind == "CallRedriven"]
    (again,) = [fact for fact in facts if fact.call_id == redriven.redriven_as and fact.kind == "CallRequested"]
    assert again.redrive_of == redriven.call_id == story["call_id"]


def test_failed_calls_are_redriven_by_cause_in_their_run_and_beyond_its_end(
    settings: Settings, cli: Callable[..., Any]
) -> None:
    """Listed whole with their cause; one whose run has ended is made anew in a run of its own; then none is left."""
    name = own("p")

    async def fail_two() -> tuple[str, str]:
        async with AsyncBackplane.connect(settings) as backplane:
            runs = [await backplane.start_run(own("w"), complete_when="explicit") for _ in range(2)]
            for run in runs:
                with pytest.raises(CallFailed):
                    await run.execute("moody", {"name": name, "fails": "quota"})
            await runs[1].fail("its call failed")
            return runs[0].id, runs[1].id

    live, ended = asyncio.run(fail_two())
    _, listed = cli("dlq", "list", "--cause", "quota")
    assert {(each["run"], each["name"], each["topic"]) for each in listed} == {
        (live, "moody", "bp.calls"), (ended, "moody", "bp.calls"),
    }  # fmt: skip
    _, dry = cli("dlq", "redrive", "--cause", "quota", "--dry-run")
    assert {each["done"] for each in dry} == {"would be"}

    mend(settings, name)
    code, done = cli("dlq", "redrive", "--cause", "quota", "--rate", "50")

    assert code == 0
    assert {each["run"]: each["done"] for each in done} == {live: "redriven", ended: "redriven"}
    (elsewhere,) = [each["why"].split()[2].rstrip(",") for each in done if each["run"] == ended]
    (asked, _) = calls(settings, elsewhere)
    (failed,) = [fact for fact in calls(settings, ended) if fact.kind == "CallFailed"]
    assert (asked.redrive_of, asked.redrives, asked.params) == (failed.call_id, 1, failed.params)
    assert cli("dlq", "list", "--cause", "quota")[1] == []


def test_a_paused_capability_makes_its_calls_wait_or_fail(settings: Settings, cli: Callable[..., Any]) -> None:
    """For the whole fleet; a call that waits is made when it is resumed, one that failed meanwhile can be redriven."""

    async def call(timeout: float) -> CallResult:
        async with AsyncBackplane.connect(settings) as backplane:
            run = await backplane.start_run(own("w"), complete_when="explicit")
            result = await run.execute("steady", {"q": "x"}, timeout_seconds=timeout)
            await run.complete()
            return result

    def failed_as_paused() -> None:
        with pytest.raises(CallFailed) as failed:
            asyncio.run(call(1.0))
        assert failed.value.fields["error_code"] == "capability_paused"

    switch("pause", "steady", "--policy", "fail", "--reason", "repairs", settings=settings)
    assert_eventually(retried(failed_as_paused))
    switch("pause", "steady", settings=settings)
    assert_eventually(retried(failed_as_paused))

    async def resumed_meanwhile() -> CallResult:
        waiting = asyncio.create_task(call(60.0))
        await asyncio.to_thread(switch, "resume", "steady", settings=settings)
        return await waiting

    assert asyncio.run(resumed_meanwhile()).result == {"found": ["x"]}


def switch(*arguments: str, settings: Settings) -> None:
    assert backplane_cli(["capabilities", *arguments, "--data-dir", str(settings.data_dir)]) == 0


def retried(check: Callable[[], None]) -> Callable[[], None]:
    """The check, with pytest's own failure as an AssertionError: the switch takes a moment to reach all executors."""

    def checked() -> None:
        try:
            check()
        except pytest.fail.Exception as failure:
            raise AssertionError(str(failure)) from failure

    return checked
