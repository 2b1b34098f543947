"""``backplane call`` and ``backplane capabilities``, as far as they need no platform."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from agents_sdk.errors import CallFailed
from backplane.cli import app as cli
from backplane.cli.call import gather, show
from backplane.cli.calling import command_error
from backplane.cli.output import CommandError, ExitCode, report


def test_params_are_json_unless_the_capability_wants_a_text() -> None:
    """``query=42`` is a text where the schema says so, ``results=3`` a number."""
    pairs = ["query=42", "results=3", 'deep={"a": [1]}', "word=plain", "empty=", "eq=a=b"]

    assert gather(pairs, None, frozenset({"query"})) == {
        "query": "42",
        "results": 3,
        "deep": {"a": [1]},
        "word": "plain",
        "empty": "",
        "eq": "a=b",
    }


def test_params_come_from_stdin_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """``--params-json -``; ``--param`` goes over it."""
    monkeypatch.setattr("sys.stdin", io.StringIO('{"a": 1, "b": 2}'))

    assert gather(["b=3"], "-", frozenset()) == {"a": 1, "b": 3}


@pytest.mark.parametrize(("pairs", "whole"), [(["novalue"], None), (["=x"], None), ([], "{"), ([], "[1]")])
def test_params_that_cannot_be_read_are_a_usage_error(pairs: list[str], whole: str | None) -> None:
    """Exit code 2."""
    with pytest.raises(CommandError) as caught:
        gather(pairs, whole, frozenset())

    assert report(caught.value) == ExitCode.USAGE


@pytest.mark.parametrize(
    ("error_code", "error_class", "exit_code"),
    [
        ("unknown_capability", "invalid_request", ExitCode.NOT_FOUND),
        ("invalid_params", "invalid_request", ExitCode.USAGE),
        ("providers_exhausted", "auth", ExitCode.AUTH),
        ("no_provider", "outage", ExitCode.UNREACHABLE),
        ("providers_exhausted", "transient", ExitCode.FAILURE),
        ("outcome_unknown", "unknown", ExitCode.FAILURE),
    ],
)
def test_a_failed_call_has_an_exit_code(error_code: str, error_class: str, exit_code: ExitCode) -> None:
    """A script knows what to do next."""
    failed = CallFailed("call failed")
    failed.fields.update(error_code=error_code, error_class=error_class, attempts=2, call_id="c")

    assert report(command_error(failed)) == exit_code


def test_a_list_of_objects_is_shown_as_rows(capsys: pytest.CaptureFixture[str]) -> None:
    """Long texts are cut; what is no list of objects is JSON."""
    show({"hits": [{"title": "a\nb", "score": 1.5, "tags": []}, {"title": "x" * 500, "score": 1}]})
    rows = capsys.readouterr().out.splitlines()
    show({"hits": [], "more": 1})

    assert rows[:2] == ["title\tscore", "a b\t1.5"]
    assert len(rows[2]) < 120
    assert json.loads(capsys.readouterr().out) == {"hits": [], "more": 1}


def test_capabilities_are_listed_without_a_platform(capsys: pytest.CaptureFixture[str]) -> None:
    """A provider that lacks its key is in brackets."""
    assert cli.run(["capabilities", "list", "--json"]) == ExitCode.OK

    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["text_generation"]["providers"] == "(openai_compatible) (anthropic) (gemini) extractive"
    assert rows["content_publish"]["side_effects"] == "idempotent"


def test_a_capability_is_shown_with_what_its_providers_lack(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name of the secret, never the secret."""
    assert cli.run(["capabilities", "show", "text_generation", "--json"]) == ExitCode.OK
    lacking = json.loads(capsys.readouterr().out)
    monkeypatch.setenv("OPENAI_API_KEY", "s3cret")
    assert cli.run(["capabilities", "show", "text_generation"]) == ExitCode.OK

    assert (
        lacking["providers"][0]["cannot_be_asked"]
        == "lacks $OPENAI_API_KEY or keyring OPENAI_API_KEY or file secrets/openai"
    )
    assert "s3cret" not in capsys.readouterr().out


def test_an_unknown_capability_is_not_found(capsys: pytest.CaptureFixture[str]) -> None:
    """With the nearest names."""
    assert cli.run(["capabilities", "show", "websearch"]) == ExitCode.NOT_FOUND
    assert "'web_search'" in capsys.readouterr().err


def test_a_broken_manifest_is_told_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a folder named by the settings."""
    (tmp_path / "mine.yaml").write_text("name: mine\nside_effects: none\n")
    monkeypatch.setenv("BACKPLANE_CAPABILITIES__PATHS", str(tmp_path))

    assert cli.run(["capabilities", "list"]) == ExitCode.FAILURE
    assert "mine.yaml:1:1: description: is missing" in capsys.readouterr().err
