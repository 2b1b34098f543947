"""``backplane run RUN --follow`` on a platform that runs: every fact once and in order, whenever it was started."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from agents_sdk import Backplane, Settings
from agents_sdk.history import read_run
from agents_sdk.scope import new_id
from agents_sdk.wire.registry import connect_codec
from backplane.cli.output import ExitCode

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

Follow = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def follow(settings: Settings) -> Iterator[Follow]:
    """Starts a follower of a run in a process of its own."""
    started: list[subprocess.Popen[str]] = []

    def start(run: str, *options: str) -> subprocess.Popen[str]:
        line = [sys.executable, "-m", "backplane.cli.app", "run", run, "--follow", *options]
        line += ["--data-dir", str(settings.data_dir)]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(line, **pipes))
        return started[-1]

    yield start
    for one in started:
        with contextlib.suppress(ProcessLookupError):
            one.kill()
        one.communicate()


def rest(follower: subprocess.Popen[str]) -> tuple[int, str, str]:
    """How it ended, and what it had still to say."""
    out, err = follower.communicate(timeout=60)
    return follower.returncode, out, err


def numbers(out: str) -> list[int]:
    return [json.loads(line)["run_seq"] for line in out.splitlines()]


def first_line(follower: subprocess.Popen[str]) -> str:
    assert follower.stdout is not None
    return follower.stdout.readline()


def waits(follower: subprocess.Popen[str]) -> None:
    """Until it says that there is no such run."""
    assert follower.stderr is not None
    assert "has begun yet" in follower.stderr.readline()


def test_all_who_follow_a_run_are_told_the_same_facts(settings: Settings, follow: Follow) -> None:
    """Before its beginning, in its middle, after its end: those of the log, in the order of the run; written to many
    topics at once meanwhile."""
    run_id = new_id()
    early = follow(run_id, "--json")
    waits(early)
    with Backplane.connect(settings, name="tester") as client:
        run = client.start_run("followed", complete_when="explicit", run_id=run_id)
        assert json.loads(first_line(early))["kind"] == "RunStarted"
        middle = follow(run_id, "--json")
        assert json.loads(first_line(middle))["run_seq"] == 1
        for number in range(30):
            run.state.set(f"key.{number % 3}", number)
            run.publish("step.done", {"number": number})
            run.state.get("key.0")
        run.complete({"steps": 30})
    late = follow(run_id, "--json")

    told = [rest(one) for one in (early, middle, late)]
    facts = read_run(settings, connect_codec(settings), run_id, until_ended_s=10.0)
    last = facts[-1].run_seq
    assert [fact.run_seq for fact in facts] == list(range(1, last + 1))
    assert [code for code, *_ in told] == [ExitCode.OK] * 3
    assert [numbers(out) for _, out, _ in told] == [list(range(2, last + 1))] * 2 + [list(range(1, last + 1))]
    early_told, middle_told, late_told = (out.splitlines() for _, out, _ in told)
    assert early_told == middle_told == late_told[1:], "as Kafka has them and as the store has them: the same"
    assert json.loads(early_told[-1])["kind"] == "RunCompleted"


def test_a_run_that_is_cancelled_ends_its_followers_with_1(settings: Settings, follow: Follow) -> None:
    """As `backplane start --wait` does; for people, in words."""
    with Backplane.connect(settings, name="tester") as client:
        run = client.start_run("followed", complete_when="explicit")
        told = follow(run.id)
        assert "run of followed started" in first_line(told)
        run.state.set("plan", "none")
        run.cancel("enough")
    code, out, err = rest(told)

    assert code == ExitCode.FAILURE
    assert "tester" in out
    assert "writes plan@1" in out
    last = out.splitlines()[-1]
    assert "run cancelled by 'tester', who said 'enough'" in last
    assert err == ""


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_an_interrupted_follower_says_nothing(settings: Settings, follow: Follow, options: tuple[str, ...]) -> None:
    """And ends with the exit code of every interrupted command; the run goes on."""
    with Backplane.connect(settings, name="tester") as client:
        run = client.start_run("followed", complete_when="explicit")
        follower = follow(run.id, *options)
        assert first_line(follower)
        follower.send_signal(signal.SIGINT)
        assert rest(follower) == (ExitCode.INTERRUPTED, "", "")
        run.complete()


def test_a_run_that_is_not_there_is_waited_for(follow: Follow) -> None:
    """Until it begins, or whoever waits has had enough; a tree is none that grows."""
    assert rest(follow("last", "--tree"))[0] == ExitCode.USAGE
    waiting = follow(new_id())
    waits(waiting)
    waiting.send_signal(signal.SIGINT)
    assert rest(waiting) == (ExitCode.INTERRUPTED, "", "")
