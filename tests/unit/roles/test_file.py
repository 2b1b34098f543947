"""A file of roles: what it grants, and how it is told what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agents_sdk.core.commands import GrantBody
from agents_sdk.core.ledger.state import Grant
from backplane.cli.app import run as cli
from backplane.cli.output import ExitCode
from backplane.roles.file import RolesUnusable, load, parsed
from backplane.roles.plan import changes

WRONG = {
    "roles: {r: {reads: brief}}": (1, "roles.r.reads", "not 'brief'"),
    "roles:\n  r:\n    wrties: [a]\n": (3, "roles.r.wrties", "no such key"),
    "roles:\n  r:\n    budget: 1 EUR\n": (3, "roles.r.budget", "'1 EUR'"),
    "roles: {researcher: {}}\nagents:\n  a: [resercher]\n": (3, "agents.a.0", "did you mean 'researcher'?"),
    "clients: {c: [nobody]}": (1, "clients.c.0", "there are operator, viewer"),
    "roles: {operator: {}}": (1, "roles.operator", "built in"),
    "roles: {r: {runs: {start: ['a', '']}}}": (1, "roles.r.runs.start.1", "empty"),
    "roles: {r: {writes: ['']}}": (1, "roles.r.writes.0", "empty"),
    "agents: {bp.executor: [viewer]}": (1, "agents.bp.executor", "'bp.executor'"),
    "agents: {a: [viewer]}\nclients: {a: [viewer]}\n": (2, "clients.a", "among the agents too"),
    "agents: {a: [viewer]}\nagents: {b: [viewer]}\n": (2, "", "'agents' is given twice"),
    "agents: {a: [viewer], a: [operator]}": (1, "", "'a' is given twice"),
    "agents: {a: [viewer": (1, "", "not YAML"),
    "- a": (1, "", "a mapping"),
    "": (1, "", "it is empty"),
    "# nothing\n": (1, "", "it is empty"),
    "a: &a [*a]": (1, "", "an alias stands for something that it is a part of"),
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_is_told_with_file_line_path_value_and_what_to_do(text: str) -> None:
    """Nothing of such a file is granted."""
    line, path, said = WRONG[text]
    with pytest.raises(RolesUnusable) as caught:
        parsed(text, "roles.yaml")
    error = caught.value
    assert error.message.startswith(f"roles.yaml:{line}:")
    assert (error.fields["line"], error.fields["path"]) == (line, path)
    assert said in error.message
    assert error.hint


def test_command_says_it_and_names_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also of a file that is not there."""
    file = tmp_path / "roles.yaml"
    asked = ["roles", "check", "a", "read", "brief", "--file", str(file)]
    assert cli(asked) == ExitCode.USAGE
    assert f"there is no file of roles '{file}'" in capsys.readouterr().err
    file.write_text("roles:\n  r:\n    reads: brief\n")
    assert cli(asked) == ExitCode.USAGE
    assert f"{file}:3:5: roles.r.reads: " in capsys.readouterr().err


def test_a_file_is_checked_without_a_platform(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What an agent may do by it, the exit code says too."""
    file = tmp_path / "roles.yaml"
    file.write_text("roles: {r: {reads: ['brief.*']}}\nagents: {a: [r]}\n")
    asked = ["roles", "check", "--file", str(file), "a"]
    assert cli([*asked, "read", "brief.one"]) == ExitCode.OK
    assert capsys.readouterr().out.startswith("yes: granted are reads ['brief.*'] by r")
    assert cli([*asked, "write", "brief.one"]) == ExitCode.REFUSED
    assert cli([*asked, "frobnicate", "x"]) == ExitCode.USAGE
    assert "take-part" in capsys.readouterr().err


def test_roles_add_up_and_the_larger_budget_counts(tmp_path: Path) -> None:
    """Who has two roles may do what either allows."""
    file = tmp_path / "roles.yaml"
    file.write_text(
        "roles:\n  one: {reads: [a], budget: 1 USD}\n  two: {reads: [b, a], runs: {control: ['*']}, budget: 2 USD}\n"
        "agents: {x: [one, two]}\nclients: {y: [viewer]}\n"
    )
    grants = load(file).grants()
    assert grants["x"].reads == ["a", "b"]
    assert (grants["x"].controls, grants["x"].budget_nano_usd) == (["*"], 2_000_000_000)
    assert (grants["y"].client, grants["y"].roles) == (True, ["viewer"])


def _grant(body: GrantBody) -> Grant:
    fields = {field: getattr(body, field) for field in Grant.__struct_fields__ if hasattr(body, field)}
    frozen: dict[str, Any] = {
        field: tuple(value) if isinstance(value, list) else value for field, value in fields.items()
    }
    return Grant(**{**frozen, "operator": "ada", "command_offset": 1})


def test_applied_again_a_file_changes_nothing_and_takes_back_only_what_roles_gave() -> None:
    """Who was granted rights one by one, as clients of a local platform are, keeps them."""
    file = parsed("roles: {r: {reads: [a]}}\nagents: {x: [r]}\n", "roles.yaml")
    (change,) = changes(file, {})
    assert (change.name, change.lines) == ("x", ["+ reads a", "+ roles r"])
    grants = {"x": _grant(change.body), "cli": _grant(GrantBody(name="cli", reads=["*"], client=True))}
    assert changes(file, grants) == []
    (withdrawn,) = changes(parsed("roles: {}", "roles.yaml"), grants)
    assert (withdrawn.name, withdrawn.lines) == ("x", ["- reads a", "- roles r"])
