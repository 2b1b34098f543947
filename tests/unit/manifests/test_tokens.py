"""What tool definitions cost a model: bounded for each capability, counted by a real tokenizer, without a network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backplane.cli import app as cli
from backplane.cli.output import ExitCode
from backplane.manifests import tokens
from backplane.manifests.registry import RegisteredCapability, load_registry


def test_the_vocabulary_is_that_of_cl100k_base() -> None:
    """Counts that OpenAI documents for this encoding (cookbook, "How to count tokens with tiktoken"): a stand-in that
    splits at blanks gives others."""
    known = {"tiktoken is great!": 6, "antidisestablishmentarianism": 6, "2 + 2 = 4": 7, "お誕生日おめでとう": 9}
    assert {text: tokens.count(text) for text in known} == known


@pytest.mark.parametrize("contract", list(load_registry()), ids=lambda contract: contract.capability.name)
def test_a_capability_costs_a_model_no_more_than_it_may(contract: RegisteredCapability) -> None:
    """Description and params of each manifest, as they are handed to a model."""
    (row,) = tokens.rows([contract])
    assert 0 < row.tokens <= tokens.LIMIT


def test_ours_are_a_twentieth_of_what_they_stand_for() -> None:
    """Over all capabilities whose providers' own interfaces were counted."""
    compared = [row for row in tokens.rows(load_registry()) if row.raw]

    assert {"web_search", "text_generation"} <= {row.capability for row in compared}
    assert sum(row.raw_tokens for row in compared) >= 20 * sum(row.tokens for row in compared)
    assert all(raw.source and raw.tokens <= raw.whole_tokens for raw in tokens.counted())


def test_any_list_of_tools_can_be_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As MCP's answer, or as a vendor's list; what a model is not given does not count."""
    tool = {"name": "a", "description": "Does a.", "inputSchema": {"type": "object"}}
    bare = tokens.count_json([tool])
    openai = {"type": "function", "function": {"name": "a", "description": "Does a.", "parameters": {"type": "object"}}}
    for document, expected in (
        ({"result": {"tools": [{**tool, "outputSchema": {"type": "object", "title": "much more"}}]}}, bare),
        ([openai], tokens.count_json([openai["function"]])),
    ):
        (tmp_path / "tools.json").write_text(json.dumps(document))
        assert cli.run(["capabilities", "tokens", "--against", str(tmp_path / "tools.json"), "--json"]) == ExitCode.OK
        assert json.loads(capsys.readouterr().out)[0]["raw_tokens"] == expected
    (tmp_path / "tools.json").write_text('{"no": "tools"}')
    assert cli.run(["capabilities", "tokens", "--against", str(tmp_path / "tools.json")]) == ExitCode.USAGE
