"""The registry of a running platform: what is applied, switched or removed counts at once, and nothing is restarted."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from agents_sdk import Agent, AsyncBackplane, CallFailed, Context, Event, Settings
from agents_sdk.follower import read_catalogue
from agents_sdk.history import read_run
from agents_sdk.topics import ATTEMPTS, CALLS
from agents_sdk.wire.registry import connect_codec
from backplane.cli import app as cli
from backplane.cli.output import ExitCode
from backplane.manifests.registry import load_registry
from backplane.platform.platform import LocalPlatform
from tests.support.eventually import assert_eventually, assert_soon
from tests.support.live_agents import running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
PROMISED_S: Final = 2.0
"""Within which a change reaches whoever runs."""

Cli = Callable[..., tuple[int, Any]]


@pytest.fixture
def run(platform: LocalPlatform, capsys: pytest.CaptureFixture[str]) -> Cli:
    """``backplane …``: exit code, and what it printed, as JSON where it is."""

    def command(*arguments: str) -> tuple[int, Any]:
        code = cli.run([*arguments, "--data-dir", str(platform.layout.data_dir)])
        out, err = capsys.readouterr()
        try:
            return code, json.loads(out or err.splitlines()[-1])
        except (ValueError, IndexError):
            return code, out + err

    return command


def manifest(name: str, *, word: str = "one", **fields: Any) -> dict[str, Any]:
    return {
        "name": name,
        "description": f"Says a word, for the test about {name}.",
        "tags": ["zeppelin"],
        "side_effects": "read",
        "params": {"type": "object", "properties": {"gate": {"type": "string"}}},
        "result": {"type": "object", "required": ["word"], "properties": {"word": {"type": "string"}}},
        "example": {},
        "providers": [
            {
                "name": "voice",
                "kind": "python",
                "function": "tests.support.live_capabilities:say",
                "config": {"word": word},
            }
        ],
        **fields,
    }


def applied(run: Cli, folder: Path, *manifests: dict[str, Any]) -> tuple[int, Any]:
    folder.mkdir(exist_ok=True)
    for each in manifests:
        (folder / f"{each['name']}.yaml").write_text(yaml.safe_dump(each))
    return run("capabilities", "apply", str(folder), "--json")


async def word(backplane: AsyncBackplane, name: str, **params: Any) -> str:
    started = await backplane.start_run("live", complete_when="explicit")
    said: str = (await started.execute(name, params)).result["word"]
    return said


def test_what_is_built_in_is_there_from_the_start_and_signed(settings: Settings, run: Cli) -> None:
    """`backplane up` has applied it; an operator can switch it off, and not remove it."""
    _, rows = run("capabilities", "list", "--all", "--json")
    shown = {row["name"]: row for row in rows}
    assert {each.capability.name for each in load_registry()} <= set(shown)
    assert all(row["version"] for row in rows)
    assert run("capabilities", "show", "echo", "--json")[1]["source"] == "built-in"
    assert all(held.record.signature for held in read_catalogue(settings, connect_codec(settings)).manifests.values())
    code, told = run("capabilities", "remove", "echo")
    assert code == ExitCode.FAILURE
    assert "backplane capabilities disable echo" in told


async def test_a_manifest_reaches_executors_and_agents_within_two_seconds(
    settings: Settings, run: Cli, tmp_path: Path
) -> None:
    """New, then changed, then removed: calls and discovery follow, and neither process is started again."""
    agent = Agent("guide", workflows=["guide"], capabilities=["live_*"])

    @agent.on("what")
    async def what(ctx: Context, event: Event) -> Any:
        found = await ctx.discover(event.data)
        return {"found": [each.name for each in found], "tools": [each["name"] for each in ctx.tools("mcp")]}

    async with running(settings, agent), AsyncBackplane.connect(settings, name="client") as backplane:
        guided = await backplane.start_run("guide", complete_when="explicit")

        async def sees(*names: str) -> None:
            answer = await guided.ask("guide", "fly a zeppelin", name="what")
            assert (answer["found"], answer["tools"]) == (list(names), list(names))

        async def says(expected: str) -> None:
            try:
                assert await word(backplane, "live_word") == expected
            except CallFailed as failed:
                raise AssertionError(str(failed)) from failed

        await sees()
        assert applied(run, tmp_path / "a", manifest("live_word"))[0] == ExitCode.OK
        await assert_soon(lambda: says("one"), PROMISED_S)
        await assert_soon(lambda: sees("live_word"), PROMISED_S)
        code, rows = applied(run, tmp_path / "a", manifest("live_word", word="two"))
        assert (code, rows[0]["status"]) == (ExitCode.OK, "changed")
        await assert_soon(lambda: says("two"), PROMISED_S)
        assert run("capabilities", "remove", "live_word")[0] == ExitCode.OK
        await assert_soon(sees, PROMISED_S)
        with pytest.raises(CallFailed, match="no capability is named 'live_word'"):
            await word(backplane, "live_word")


async def test_a_call_under_way_keeps_its_manifest_and_says_which(settings: Settings, run: Cli, tmp_path: Path) -> None:
    """The first call began with version one and ends with it, although the second one has long been answered by the
    other; attempts and outcomes name the versions."""
    gate = tmp_path / "gate"
    _, first = applied(run, tmp_path / "f", manifest("live_frozen"))
    async with AsyncBackplane.connect(settings, name="client") as backplane:
        started = await backplane.start_run("live", complete_when="explicit")
        early = asyncio.ensure_future(started.execute("live_frozen", {"gate": str(gate)}))
        codec = await asyncio.to_thread(connect_codec, settings)

        async def requested() -> None:
            facts = await asyncio.to_thread(read_run, settings, codec, started.id, [CALLS])
            assert [fact.kind for fact in facts] == ["CallRequested"]

        await assert_soon(requested)
        assert await word(backplane, "live_frozen") == "one"  # a call behind it: the first has begun
        _, second = applied(run, tmp_path / "f", manifest("live_frozen", word="two"))

        async def two() -> None:
            assert await word(backplane, "live_frozen") == "two"

        await assert_soon(two, PROMISED_S)
        late = await started.execute("live_frozen")
        assert not early.done()
        gate.touch()
        assert ((await early).result["word"], late.result["word"]) == ("one", "two")

        async def both() -> None:
            facts: list[Any] = await asyncio.to_thread(read_run, settings, codec, started.id, [CALLS, ATTEMPTS])
            versions = {early.result().call_id: first[0]["version"], late.call_id: second[0]["version"]}
            ends = [fact for fact in facts if fact.kind in ("AttemptSucceeded", "CallCompleted")]
            assert [fact.manifest_version for fact in ends] == [versions[fact.call_id] for fact in ends]
            assert len(ends) == 4

        await assert_soon(both)


def test_what_is_malformed_or_breaks_callers_is_refused_whole(run: Cli, tmp_path: Path) -> None:
    """Each mistake with file, line and column; each broken promise with its path; and nothing of the folder is
    applied."""
    assert applied(run, tmp_path / "c", manifest("live_kept"))[0] == ExitCode.OK
    narrower = manifest("live_kept", result={"type": "object"})
    code, told = applied(run, tmp_path / "c", narrower, manifest("live_other"))
    assert (code, told["code"]) == (ExitCode.FAILURE, "incompatible_manifest")
    assert "live_kept.yaml: result.word: " in told["message"]

    line = "  - {name: a, kind: python, function: a, b: 1}"
    (tmp_path / "c" / "x.yaml").write_text(f"name: x\nproviders:\n{line}\n")
    code, told = run("capabilities", "apply", str(tmp_path / "c"), "--json")
    assert (code, told["code"]) == (ExitCode.FAILURE, "manifest")
    assert f"x.yaml:3:{line.index('b: 1') + 1}: providers.0.b: no such key" in told["message"]
    assert f"x.yaml:3:{line.index('function') + 1}: providers.0.function: " in told["message"]

    _, rows = run("capabilities", "list", "--all", "--json")
    assert {"live_kept"} == {row["name"] for row in rows if row["name"] in ("live_kept", "live_other", "x")}


def test_what_is_switched_off_is_refused_with_the_reason_until_it_is_on_again(run: Cli, tmp_path: Path) -> None:
    """For the whole fleet: calls, `list` and tools; a provider alone is passed over."""
    other = {"name": "other", "kind": "python", "function": "tests.support.live_capabilities:say"}
    given = manifest("live_switched")
    given["providers"].append({**other, "config": {"word": "two"}})
    applied(run, tmp_path / "s", given)

    def says(expected: str) -> None:
        code, document = run("call", "live_switched", "--json")
        assert code == ExitCode.OK, document
        assert document["result"]["word"] == expected

    def refused() -> None:
        code, document = run("call", "live_switched", "--json")
        assert code != ExitCode.OK
        assert "is disabled" in document["message"]
        assert document["said"] == "too dear"

    assert_eventually(lambda: says("one"), PROMISED_S)
    assert run("capabilities", "disable", "live_switched/voice")[0] == ExitCode.OK
    assert_eventually(lambda: says("two"), PROMISED_S)
    assert run("capabilities", "disable", "live_switched", "--reason", "too dear")[0] == ExitCode.OK
    assert_eventually(refused, PROMISED_S)
    assert "live_switched" not in {row["name"] for row in run("capabilities", "list", "--json")[1]}
    assert run("capabilities", "show", "live_switched", "--json")[1]["state"] == "disabled"
    run("capabilities", "enable", "live_switched")
    run("capabilities", "enable", "live_switched/voice")
    assert_eventually(lambda: says("one"), PROMISED_S)
    assert run("capabilities", "disable", "live_swiched")[0] == ExitCode.NOT_FOUND
    assert run("capabilities", "disable", "live_switched/voce")[0] == ExitCode.NOT_FOUND


def test_a_provider_that_nobody_reaches_is_hidden_until_it_is_there(run: Cli, tmp_path: Path) -> None:
    """By the executors' heartbeats: a closed port, then one that is open."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        far = {"name": "far", "kind": "http", "request": {"base_url": {"value": f"http://127.0.0.1:{port}"}}}
        applied(run, tmp_path / "h", manifest("live_far", providers=[far]))

        def cannot() -> None:
            _, shown = run("capabilities", "show", "live_far", "--json")
            assert shown["state"] == "dead"
            assert f"is out of reach: 127.0.0.1:{port}" in shown["providers"][0]["cannot_be_asked"]

        def listed() -> None:
            assert "live_far" in {row["name"] for row in run("capabilities", "list", "--json")[1]}

        assert_eventually(cannot)
        assert "live_far" not in {row["name"] for row in run("capabilities", "list", "--json")[1]}
        held.listen()
        assert_eventually(listed)


def test_a_killed_executor_is_taken_for_dead(platform: LocalPlatform, settings: Settings) -> None:
    """Three periods after its last beat; its successor beats under a name of its own."""
    codec = connect_codec(settings)

    def living() -> set[str]:
        return {beat.executor for beat in read_catalogue(settings, codec).living(time.monotonic())}

    (before,) = living()
    os.kill(platform.record()["parts"]["executor"]["pid"], signal.SIGKILL)

    def succeeded() -> None:
        now = living()
        assert len(now) == 1
        assert before not in now

    assert_eventually(succeeded, 60)


def test_providers_are_tried_step_by_step(run: Cli, tmp_path: Path) -> None:
    """What was found, what it answered, whether that keeps the contract; the exit code says whether one did."""
    http = {
        "name": "vendor",
        "kind": "http",
        "request": {"base_url": {"value": "http://127.0.0.1:9"}},
        "auth": {"kind": "bearer", "secret": {"env": "LIVE_NO_SUCH_KEY"}},
    }
    given = manifest("live_tried")
    given["providers"].append(http)
    applied(run, tmp_path / "t", given)

    code, told = run("capabilities", "test", "live_tried", "--json")
    assert code == ExitCode.OK
    voice, vendor = told["providers"]
    assert (voice["ok"], voice["steps"]["result"]) == (True, '{"word":"one"}')
    assert voice["steps"]["attempt"].startswith("answered in ")
    assert (vendor["ok"], vendor["steps"]) == (False, {"secrets and endpoint": "lacks $LIVE_NO_SUCH_KEY"})
    assert run("capabilities", "test", "live_tried", "--provider", "vendor")[0] == ExitCode.FAILURE
    assert run("capabilities", "test", "live_tried", "--params-json", '{"gate": 5}')[0] == ExitCode.USAGE
