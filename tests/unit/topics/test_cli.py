"""``backplane topics`` and ``backplane schemas`` without a platform: data on stdout, mistakes with a next step."""

from __future__ import annotations

import json

import pytest

from agents_sdk import schemas
from agents_sdk.wire.topic_files import load_all
from backplane.cli.app import run


def test_topics_are_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Every topic is in the list; an inbox is shown by any agent's name."""
    assert run(["topics", "list", "--json"]) == 0
    assert [row["topic"] for row in json.loads(capsys.readouterr().out)] == [file.topic for file in load_all()]
    assert run(["topics", "show", "bp.inbox.anyone", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["retention"] == "30d"


def test_schemas_are_listed_and_shown_field_by_field(capsys: pytest.CaptureFixture[str]) -> None:
    """Every record is in the list; its fields are shown with those of nested bodies."""
    assert run(["schemas", "list", "--json"]) == 0
    assert [row["record"] for row in json.loads(capsys.readouterr().out)] == list(schemas.records())
    assert run(["schemas", "show", "Command"]) == 0
    assert "state.expected_version\tlong\t0\t" in capsys.readouterr().out
    assert run(["schemas", "show", "Reply", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == schemas.avro("Reply")


def test_asyncapi_needs_no_platform(capsys: pytest.CaptureFixture[str]) -> None:
    """The document can be made on any machine, as YAML and as the same JSON."""
    import yaml

    assert run(["schemas", "asyncapi", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert run(["schemas", "asyncapi"]) == 0
    assert yaml.safe_load(capsys.readouterr().out) == made
    assert made["asyncapi"] == "3.1.0"


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        (["topics", "show", "bp.runz"], 3, "bp.runz"),
        (["schemas", "show", "Run"], 3, "RunEvent"),
        (["schemas", "show", "RunEvent", "--version", "9"], 3, "latest is 2"),
        (["topics", "apply"], 5, "backplane up"),
        (["schemas", "apply", "--dry-run"], 5, "backplane up"),
    ],
)
def test_mistakes_are_answered(line: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Unknown names and a missing platform: the exit code says which, the text says what to do."""
    assert run(line) == code
    assert said in capsys.readouterr().err
