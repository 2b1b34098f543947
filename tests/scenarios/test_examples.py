"""The examples and the snippets of the documentation, each run as its text says, on the platform of the session."""

from __future__ import annotations

import importlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from backplane.cli.app import run
from backplane.cli.output import ExitCode
from backplane.platform.child import Child
from backplane.platform.ports import choose
from tests.support.eventually import assert_eventually

if TYPE_CHECKING:
    from backplane.platform.platform import LocalPlatform

ROOT: Final = Path(__file__).parents[2]
EXAMPLES: Final = ROOT / "examples"
SNIPPETS: Final = ROOT / "docs" / "snippets"
FILES: Final = (
    *(EXAMPLES / f"{name}.py" for name in ("hello", "unsafe_tool", "budget", "memory", "ask", "mcp_tool")),
    *(SNIPPETS / f"{name}.py" for name in ("fallback", "waiting", "long_running", "code_changed", "own_model")),
)


@pytest.fixture(scope="module")
def data_dir(platform: LocalPlatform) -> Path:
    return platform.layout.data_dir


@pytest.fixture(scope="module")
def weather(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The MCP server of the example, on a free port; the manifest looks its address up in a file."""
    port = choose(["mcp"], {})["mcp"]
    log = tmp_path_factory.mktemp("weather") / "server.log"
    with log.open("ab") as out:
        server = subprocess.Popen(
            [sys.executable, str(EXAMPLES / "weather_server.py"), str(port)], stdout=out, stderr=out
        )
    (data_dir / "weather.url").write_text(f"http://127.0.0.1:{port}/mcp")

    def answers() -> None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError as error:
            raise AssertionError(log.read_text()) from error

    try:
        assert_eventually(answers, 60)
        yield
    finally:
        server.kill()
        server.wait()


@pytest.fixture(scope="module")
def agents(data_dir: Path, weather: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    """All of them in one process, with the capabilities that they need."""
    for folder in (EXAMPLES / "manifests", SNIPPETS / "manifests"):
        assert run(["capabilities", "apply", str(folder), "--data-dir", str(data_dir)]) == ExitCode.OK
    place = tmp_path_factory.mktemp("agents")
    lines = [f"from {file.stem} import *" for file in FILES]
    (place / "all_examples.py").write_text("\n".join(lines) + "\n")
    # Other tests of the platform may have declared agents of these names: hence --trust.
    command = [sys.executable, "-m", "backplane.cli.app", "agents", "run", str(place / "all_examples.py"), "--trust"]
    path = os.pathsep.join(map(str, (EXAMPLES, SNIPPETS, ROOT / "services", ROOT)))
    environment = {**os.environ, "BACKPLANE_DATA_DIR": str(data_dir), "PYTHONPATH": path}
    process = Child(command, environment, place / "agents.log")

    def ready() -> None:
        assert any("ready" in line for line in process.tail(5)), process.tail(20)

    def ended() -> None:
        assert process.exit_reason() is not None

    try:
        assert_eventually(ready, 60)
        yield process
    finally:
        process.send(signal.SIGTERM)
        assert_eventually(ended)


@pytest.fixture
def here(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients in this process find the platform, and the snippets each other."""
    monkeypatch.setenv("BACKPLANE_DATA_DIR", str(data_dir))
    for folder in (EXAMPLES, SNIPPETS):
        monkeypatch.syspath_prepend(str(folder))


def started(file: Path) -> tuple[str, str]:
    """Workflow and input, as the docstring of an example gives them."""
    ((workflow, given),) = re.findall(r"^backplane start (\S+) --input '(.*)' --wait$", file.read_text(), re.MULTILINE)
    return workflow, given


def state_of(run_id: str, key: str, capsys: pytest.CaptureFixture[str]) -> Any:
    assert run(["state", "get", run_id, key, "--json"]) == ExitCode.OK
    return json.loads(capsys.readouterr().out)["value"]


def outcome_of(workflow: str, given: str, agents: Child, capsys: pytest.CaptureFixture[str]) -> Any:
    capsys.readouterr()
    code = run(["start", workflow, "--input", given, "--wait", "--timeout", "90", "--json"])
    told = capsys.readouterr()
    assert code == ExitCode.OK, (told, agents.tail(20))
    return json.loads(told.out)


EXPECTED: Final[dict[str, tuple[str, Any]]] = {
    "unsafe_tool": ("refund.A-17", None),
    "budget": ("left_out", ["three"]),
    "memory": ("known_before", []),
    "ask": ("verdicts", {"water is wet": "holds", "the moon is cheese": "does not hold"}),
    "mcp_tool": ("packed", ["hat"]),
}
"""Example → a key of its last state, and the value; None: any."""


@pytest.mark.parametrize("name", EXPECTED)
def test_an_example_does_what_it_says(name: str, agents: Child, here: None, capsys: pytest.CaptureFixture[str]) -> None:
    """By the command line of its docstring; the value that it promises is there."""
    key, expected = EXPECTED[name]
    outcome = outcome_of(*started(EXAMPLES / f"{name}.py"), agents, capsys)

    value = state_of(outcome["run_id"], key, capsys)
    assert value == expected if expected is not None else value


def test_the_client_snippet_gives_the_summary_of_hello(agents: Child, here: None) -> None:
    """Without an event loop; the same run that the first page describes."""
    assert " · " in importlib.import_module("start_run").summary_of("event streaming")


def test_the_failed_tool_is_replaced_by_its_fallback(
    agents: Child, here: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """The provider that is down is tried, then the documents are searched."""
    outcome = outcome_of("scouting", '{"topic": "event streaming"}', agents, capsys)

    assert state_of(outcome["run_id"], "news", capsys)["provider"] == "tantivy_local"


async def test_the_editor_waits_for_both_reporters(agents: Child, here: None) -> None:
    """It is triggered once, and finds both reports."""
    from agents_sdk import AsyncBackplane

    run_id = await importlib.import_module("waiting").start()
    async with AsyncBackplane.connect() as backplane:
        handle = backplane.run(run_id)
        assert (await handle.wait(90)).status == "completed"
        assert await handle.state.get("front_page") == "north: snow, south: sun"


def test_a_long_run_outlives_the_failure_of_a_step(
    agents: Child, here: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """The step is tried again, its write is not repeated, and its result reaches the planner."""
    outcome = outcome_of("campaign", "null", agents, capsys)

    assert state_of(outcome["run_id"], "outcome", capsys) == {"language": "fr", "writes": 1}


def test_the_steps_of_the_columnist_are_named(agents: Child, here: None, capsys: pytest.CaptureFixture[str]) -> None:
    """The handler of the page about changed code does its work."""
    outcome = outcome_of("column", '{"topic": "snow"}', agents, capsys)

    assert state_of(outcome["run_id"], "draft", capsys) == "snow, in plain words"


def test_the_own_model_of_the_essayist_is_paid_for(
    agents: Child, here: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its two steps ask a model, and their cost is in the books of the run."""
    outcome = outcome_of("own-model", '{"topic": "snow"}', agents, capsys)

    assert state_of(outcome["run_id"], "draft", capsys)["text"] == "All about snow."

    capsys.readouterr()
    assert run(["cost", outcome["run_id"], "--by", "model", "--json"]) == ExitCode.OK
    assert "gpt-4o-mini" in capsys.readouterr().out


async def test_the_test_of_the_documentation_passes(agents: Child, here: None) -> None:
    """As pytest would run it."""
    await importlib.import_module("test_hello").test_the_summary_names_each_source()


def test_the_contracts_of_the_documentation_are_applied(here: None, capsys: pytest.CaptureFixture[str]) -> None:
    """For the runs of one workflow, so that other runs are free; and removed as the page says."""
    assert run(["contracts", "apply", str(SNIPPETS / "contracts.py")]) == ExitCode.OK
    capsys.readouterr()
    assert run(["contracts", "list", "--json"]) == ExitCode.OK
    assert "notes/*" in capsys.readouterr().out
    for pattern in ("notes/*", "search.*"):
        assert run(["contracts", "remove", pattern, "--workflow", "reports"]) == ExitCode.OK
