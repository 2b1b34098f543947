"""``backplane start`` and ``backplane replay`` on a platform that runs: what a script learns from their exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
import yaml

from agents_sdk import Backplane
from agents_sdk.scope import new_id
from backplane.cli import app as cli
from backplane.cli.output import ExitCode

if TYPE_CHECKING:
    from backplane.platform.platform import LocalPlatform

pytestmark = pytest.mark.timeout(300)


class Done(NamedTuple):
    code: int
    out: str
    err: str


class Shell:
    """Command lines on the platform."""

    def __init__(self, platform: LocalPlatform, capsys: pytest.CaptureFixture[str]) -> None:
        self._where = ("--data-dir", str(platform.layout.data_dir))
        self._capsys = capsys

    def __call__(self, *arguments: str) -> Done:
        code = cli.run([*arguments, *self._where])
        return Done(code, *self._capsys.readouterr())


@pytest.fixture
def backplane(platform: LocalPlatform, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(platform, capsys)


def test_a_start_that_nobody_hears_says_so(backplane: Shell) -> None:
    """The run goes on for ever otherwise, and nobody knows why. Its id is printed all the same."""
    done = backplane("start", f"nobody_{new_id()[-8:]}")

    assert done.code == ExitCode.OK
    assert done.err.startswith("warning: nobody handles the workflow 'nobody_")
    assert "backplane agents run" in done.err
    assert backplane("state", "list", done.out.strip()).code == ExitCode.OK


def test_a_start_that_nobody_hears_is_not_waited_for(backplane: Shell) -> None:
    """The run is cancelled, the reason is on its record, and the command ends by a code of its own."""
    done = backplane("start", f"nobody_{new_id()[-8:]}", "--wait")

    assert done.code == ExitCode.NOT_FOUND
    assert "nobody handles the workflow" in done.err
    run = done.err.split("run: ")[-1].split()[0] if "run: " in done.err else done.err.split("; run ")[1].split()[0]
    shown = json.loads(backplane("run", run, "--json").out)
    assert (shown["status"], "nobody handles" in shown["said"]) == ("cancelled", True)


def test_last_is_the_newest_run_that_was_started_from_outside(platform: LocalPlatform, backplane: Shell) -> None:
    """Not a child run, in every command that takes a run; the first characters of an id name it too."""
    with Backplane.connect(platform.settings) as client:
        run = client.start_run("outer", complete_when="explicit")
        run.state.set("key", 1)
        child = run.start_run("inner")
    assert child.id != run.id
    for name in ("last", run.id[:13], run.id):
        assert backplane("state", "get", name, "key").out == "1\n", name
        assert json.loads(backplane("run", name, "--json").out)["run_id"] == run.id
    assert backplane("state", "list", "last").out.split()[-2:] == ["key", "1"]
    assert run.id in backplane("events", "tail", "--run", "last", "-o", "beginning", "-e", "--json").out
    with Backplane.connect(platform.settings) as client:
        client.run(run.id).cancel("over")


def test_what_is_shown_of_a_capability_can_be_applied(backplane: Shell, tmp_path: Path) -> None:
    """The manifest as YAML, with the rest as comments; at most it becomes the operator's own word."""
    for name in ("web_search", "text_generation", "code_execution", "file_storage", "content_publish"):
        (tmp_path / f"{name}.yaml").write_text(backplane("capabilities", "show", name).out)

    done = backplane("capabilities", "apply", str(tmp_path), "--dry-run", "--json")

    assert done.code == ExitCode.OK, done.err
    assert {row["status"] for row in json.loads(done.out)} <= {"unchanged", "changed"}


def test_a_function_that_no_executor_can_load_is_refused(backplane: Shell, tmp_path: Path) -> None:
    """With the folders that it looks in; nothing is applied."""
    manifest = yaml.safe_load(backplane("capabilities", "show", "code_execution").out)
    manifest["name"] = "not_there"
    manifest["providers"] = [{"name": "lost", "kind": "python", "function": "no_such_module_anywhere:run"}]
    (tmp_path / "lost.yaml").write_text(yaml.safe_dump(manifest))

    done = backplane("capabilities", "apply", str(tmp_path))

    assert done.code != ExitCode.OK
    assert "no_such_module_anywhere:run cannot be loaded: ModuleNotFoundError" in done.err
    assert "the executor looks in" in done.err
    assert backplane("capabilities", "show", "not_there").code == ExitCode.NOT_FOUND


def test_a_replay_that_differs_has_exit_code_6(
    platform: LocalPlatform, backplane: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decided again under the rules it was recorded by, a run is identical; under another limit it is not: the first
    fact that differs is named, and the exit code is not 0."""
    with Backplane.connect(platform.settings) as client:
        run = client.start_run("replayed", complete_when="explicit")
        run.state.set("large", "x" * 2_000)
        run.complete()
    same = backplane("replay", run.id, "--json")
    monkeypatch.setenv("BACKPLANE_LIMITS__MAX_VALUE_BYTES", "1024")
    other = backplane("replay", run.id, "--json")
    told = backplane("replay", run.id)

    assert (same.code, other.code, told.code) == (ExitCode.OK, 6, 6)
    agreed, found = json.loads(same.out), json.loads(other.out)
    assert (agreed["identical"], agreed["facts"], agreed["difference"]) == (True, 3, None)
    assert agreed["state_hash"] == agreed["replayed_state_hash"]
    assert found["identical"] is False
    assert found["state_hash"] == agreed["state_hash"] != found["replayed_state_hash"]
    assert (found["difference"]["recorded"], found["difference"]["decided"]) == ("StateWritten", "CommandRefused")
    assert "verdict   DIFFERENT" in told.out


def test_a_replay_of_no_run_is_not_found(backplane: Shell) -> None:
    """Neither by a whole id nor by the beginning of one."""
    assert backplane("replay", new_id()).code == ExitCode.NOT_FOUND
    assert backplane("replay", "nothing").code == ExitCode.NOT_FOUND
