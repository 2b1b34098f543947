"""Rules of rows as text: no name of a workflow gets out of its quotes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backplane.access.row_rules import filters


def _read(text: str) -> tuple[dict[str, str], str]:
    """A map literal of ClickHouse, read by the letter; and what follows it."""
    assert text.startswith("{")
    found, at = [], 1
    while text[at] != "}":
        if text[at] == "'":
            at += 1
            word = ""
            while text[at] != "'":
                at += text[at] == "\\"
                word += text[at]
                at += 1
            found.append(word)
        at += 1
    return dict(zip(found[::2], found[1::2], strict=True)), text[at + 1 :]


@given(st.lists(st.text(min_size=1), max_size=4))
def test_names_stay_within_their_quotes(names: list[str]) -> None:
    """Two layers of quotes, read back one by one, give the names and nothing else."""
    rules, rest = _read(filters("b", names))

    assert rest == ""
    assert set(rules) == {"b.events", "b.edges", "b.run_workflows", "b.run_workflows_filled", "b.migrations"}
    inner = rules["b.run_workflows"].removeprefix("workflow IN (").removesuffix(")")
    words, _ = _read("{" + ", ".join(["'k'", inner] if len(names) == 1 else ["'k', 'v'"]) + "}")
    assert len(names) != 1 or words == {"k": names[0]}


def test_nobody_sees_anything_by_an_empty_list() -> None:
    """No workflow is called nothing."""
    assert "workflow IN (\\'\\')" in filters("b", ())
