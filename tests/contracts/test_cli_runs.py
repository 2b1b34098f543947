"""``backplane start`` and ``backplane replay`` on a platform that runs: what a script learns from their exit codes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

import pytest

from agents_sdk import Backplane
from agents_sdk.scope import new_id
from services.cli import app as cli
from services.cli.output import ExitCode

if TYPE_CHECKING:
    from infra.local.platform import LocalPlatform

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
    assert done.err.startswith("warning: nobody was given the input: no agent of 'nobody_")
    assert "backplane agents run" in done.err
    assert backplane("state", "list", done.out.strip()).code == ExitCode.OK


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
