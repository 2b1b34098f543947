"""The command starts fast, speaks one way, and its exit codes can be relied on."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from agents_sdk.errors import REFUSALS, BackplaneError, Unanswered, Unreachable
from agents_sdk.settings import NotConfigured
from backplane.cli import app as cli
from backplane.cli.output import CommandError, ExitCode, described, print_rows, report
from backplane.platform.errors import NotRunning, PlatformError

GROUP_LIMIT = 12
"""Commands a group."""
OWN_MODULES = 150
"""Beyond what typer itself imports."""
HEAVY = ("confluent_kafka", "faust", "chdb", "fastavro", "clickhouse_connect", "pydantic", "httpx", "psutil", "jgo")


def test_help_imports_nothing_heavy() -> None:
    """What a command needs is imported when that command runs: chdb alone is 180 MB."""
    code = (
        "import sys; from backplane.cli.app import run; assert run(['--help']) == 0;"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stderr.strip() == "[]"
    assert all(name in done.stdout for name in cli.COMMANDS)


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_every_command_of_the_table_loads_and_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A line in the table without a module behind it fails here."""
    entry = cli.COMMANDS[name]
    module = importlib.import_module(f"backplane.cli.{entry.module or name}")
    assert module.__name__.split(".")[2] == name, "a command is in the file, or in the package, of its name"

    assert cli.run([name, "--help"]) == ExitCode.OK
    assert "Usage" in capsys.readouterr().out
    assert entry.help.endswith(".")
    panels = Counter(each.rich_help_panel for each in getattr(cli.load(name), "commands", {}).values())
    assert all(count <= GROUP_LIMIT for count in panels.values()), f"a group of `backplane {name}` is too long"


def test_help_is_grouped_and_each_command_has_one_line_of_80_columns() -> None:
    """Four groups by what a person is about to do, each read at one glance."""
    code = "from backplane.cli.app import run; run(['--help'])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "80", "TERMINAL_WIDTH": "80"},
    )
    lines = done.stdout.splitlines()

    assert max(map(len, lines)) <= 80
    for title, group in cli.GROUPS.items():
        at = next(number for number, line in enumerate(lines) if f"─ {title} ─" in line)
        shown = [line.strip("│ ").split()[0] for line in lines[at + 1 : at + 1 + len(group)]]
        assert shown == list(group), "a help of two lines would be here"
        assert 0 < len(group) <= GROUP_LIMIT
        assert all(entry.help in done.stdout for entry in group.values())


def test_an_old_name_works_with_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    """Scripts of before go on for one release, and say on stderr what to write instead."""
    for old, new in cli.RENAMED.items():
        assert old not in cli.COMMANDS
        assert cli.run([old, "--help"]) == ExitCode.OK
        out, err = capsys.readouterr()
        assert "Usage" in out
        assert f"`backplane {new}`" in err


def test_starting_imports_little() -> None:
    """Each module that every command imports is paid by every command: their number is held, and measured by the bench
    of starts."""
    code = "import sys; from backplane.cli.app import run; run(['--version']); print(len(sys.modules), file=sys.stderr)"
    bare = "import sys, typer, rich.panel; print(len(sys.modules), file=sys.stderr)"
    counts = [
        int(subprocess.run([sys.executable, "-c", each], capture_output=True, text=True, check=True).stderr)
        for each in (code, bare)
    ]

    assert counts[0] - counts[1] < OWN_MODULES


def test_unknown_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    """On stderr, with where to look."""
    assert cli.run(["bogus"]) == ExitCode.USAGE

    out, err = capsys.readouterr()
    assert out == ""
    assert "bogus" in err
    assert "--help" in err


def test_error_under_json_is_one_object_on_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A program reads code, message and hint; stdout stays empty."""
    assert cli.run(["status", "--json", "--data-dir", str(tmp_path)]) == ExitCode.UNREACHABLE

    out, err = capsys.readouterr()
    assert out == ""
    assert json.loads(err).keys() == {"code", "message", "hint"}
    assert json.loads(err)["code"] == "not_running"


def test_down_of_nothing_is_no_error(tmp_path: Path) -> None:
    """It is stopped: that is what was asked."""
    assert cli.run(["down", "--data-dir", str(tmp_path)]) == ExitCode.OK


def test_config_explain_shows_values_with_their_source(capsys: pytest.CaptureFixture[str]) -> None:
    """As a list of objects under --json, as text separated by tabs in a pipe."""
    assert cli.run(["config", "explain", "--json"]) == ExitCode.OK
    rows = json.loads(capsys.readouterr().out)
    assert {"key": "topics.partitions", "value": "4", "source": "default"} in rows

    assert cli.run(["config", "explain"]) == ExitCode.OK
    assert "topics.partitions\t4\tdefault" in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotConfigured("no"), ExitCode.UNREACHABLE),
        (NotRunning("no"), ExitCode.UNREACHABLE),
        (Unreachable("no"), ExitCode.UNREACHABLE),
        (Unanswered("no"), ExitCode.UNREACHABLE),
        (REFUSALS["scope"]("no"), ExitCode.REFUSED),
        (REFUSALS["unknown_run"]("no"), ExitCode.NOT_FOUND),
        (PlatformError("no"), ExitCode.FAILURE),
        (BackplaneError("no"), ExitCode.FAILURE),
        (CommandError("not_verified", "no"), ExitCode.NOT_VERIFIED),
        (ZeroDivisionError("no"), ExitCode.FAILURE),
        (KeyboardInterrupt(), ExitCode.INTERRUPTED),
        (typer.Abort(), ExitCode.INTERRUPTED),
        (typer.BadParameter("no"), ExitCode.USAGE),
        (typer.Exit(7), ExitCode.REFUSED),
    ],
)
def test_exit_code_follows_the_error(error: BaseException, code: ExitCode) -> None:
    """Scripts branch on it."""
    assert report(error) == code


def test_every_refusal_is_told_from_a_failure() -> None:
    """A refusal of the ledger is never reported as a mere failure."""
    for code, refusal in REFUSALS.items():
        assert report(refusal("no")) in (ExitCode.NOT_FOUND, ExitCode.REFUSED), code


def test_unforeseen_error_shows_its_traceback_only_with_debug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """--debug may stand anywhere in the line, but not behind --, where it belongs to somebody else."""

    def broken() -> None:
        raise ZeroDivisionError("nothing to divide by")

    monkeypatch.setattr(cli, "load", lambda name: typer.main.get_command(single(broken)))
    assert cli.run(["doctor"]) == ExitCode.FAILURE
    quiet = capsys.readouterr().err
    assert "ZeroDivisionError: nothing to divide by" in quiet
    assert "Traceback" not in quiet
    assert "--debug" in quiet

    assert cli.run(["doctor", "--debug"]) == ExitCode.FAILURE
    assert "Traceback" in capsys.readouterr().err
    assert cli.run(["doctor", "--", "--debug"]) != ExitCode.OK
    assert "Traceback" not in capsys.readouterr().err


def single(function: Callable[..., Any]) -> typer.Typer:
    made = typer.Typer(add_completion=False)
    made.command()(function)
    return made


def test_reader_that_goes_away_ends_the_command_quietly() -> None:
    """`backplane … | head -1` shows one line and no traceback."""
    command = f"{sys.executable} -m backplane.cli.app config explain; echo $? >&2"
    done = subprocess.run(
        ["bash", "-c", f"({command}) | true"], capture_output=True, text=True, check=True, env={"PATH": "/usr/bin:/bin"}
    )

    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr
    assert done.stderr.strip() in ("0", "141")


def test_cells_with_tabs_and_newlines_stay_in_their_column(capsys: pytest.CaptureFixture[str]) -> None:
    """A pipe reads one row a line."""
    print_rows(("a", "b"), [("x\ty", "line\nbreak"), (None, 1)])

    assert capsys.readouterr().out == "a\tb\nx y\tline break\n\t1\n"


def test_error_without_a_code_is_internal_and_says_how_to_see_more() -> None:
    """An error nobody foresaw is told by its type and text."""
    about = described(ValueError("odd"))

    assert about == {"code": "internal", "message": "ValueError: odd", "hint": "run it again with --debug to see where"}


def test_an_interrupt_that_was_caught_ends_by_the_exit_code(tmp_path: Path) -> None:
    """Also one that met an exec of text, as an import of a dataclass has it: Python would end by the signal."""
    code = """
from backplane.cli import app

def interrupted(argv):
    try:
        exec("raise KeyboardInterrupt")
    except KeyboardInterrupt:
        return 130

app.run = interrupted
app.main()
"""
    (tmp_path / "interrupted.py").write_text(code)
    assert subprocess.run([sys.executable, "-m", "interrupted"], cwd=tmp_path, check=False).returncode == 130
