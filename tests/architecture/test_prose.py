"""Prose that a non-native reader understands at first reading: pages, docstrings, comments and messages.

Pages have no exception. Modules from before the rules have as many as ``prose_exceptions.txt`` says, and no more.
"""

from __future__ import annotations

import pytest

from tests.support.prose import FROZEN, ROOT, Fault, allowed, counted, faults_of, of_markdown, of_python

FREE: tuple[str, ...] = ("docs/", "examples/", "README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md")
"""No exception is allowed here."""


@pytest.fixture(scope="module")
def found() -> dict[str, list[Fault]]:
    return counted()


def test_no_file_has_more_exceptions_than_it_had(found: dict[str, list[Fault]]) -> None:
    """A new file has none. After a move or a merge ``make prose`` writes the baseline again, if the total allows it."""
    limits = allowed()
    over = {path: faults for path, faults in found.items() if len(faults) > limits.get(path, 0)}

    assert {path: [str(fault) for fault in faults] for path, faults in over.items()} == {}


def test_pages_have_no_exception() -> None:
    """The documentation follows the rules from its first day."""
    assert [path for path in allowed() if path.startswith(FREE)] == []


def test_the_baseline_names_files_that_are_there() -> None:
    """An entry of a file that is gone would allow another one."""
    assert [path for path in allowed() if not (ROOT / path).exists()] == []


@pytest.mark.parametrize(("path", "text"), sorted(FROZEN))
def test_a_frozen_text_is_excused_in_its_own_file_alone(path: str, text: str) -> None:
    """It is there, and is a fault anywhere else. So no entry outlives its text, and none is copied."""
    module = (ROOT / path).read_text()

    assert text in module
    assert of_python(module, path) == []
    assert [fault.text for fault in of_python(module)] == [text]


@pytest.mark.parametrize(
    "sentence",
    [
        "What is open when a run ends is closed.",
        "Who dies in between leaves an open call.",
        "Whoever asks is answered.",
        "The caller is told of it.",
        "It is tried anew.",
        "The record lies behind the others.",
        "It failed often of late.",
        " ".join(["word"] * 26) + ".",
    ],
)
def test_a_broken_rule_is_found(sentence: str) -> None:
    """Each rule can fail: in a page, in a docstring, and where it is a banned word in a comment or message as well."""
    assert of_markdown(f"# A page\n\nA good sentence. {sentence}\n")
    assert of_python(f'"""A good sentence. {sentence}"""\n')
    if "says" in next(faults_of(sentence, 1)).rule:
        assert of_python(f"a = 1  # {sentence}\n")
        assert of_python(f"message({sentence!r})\n")


@pytest.mark.parametrize(
    "text",
    [
        "What does it cost? It costs little.",
        "A command is accepted only once.",
        "`whoever` is code.",
        " ".join(["word"] * 25) + ".",
        "Run `backplane run RUN --follow` and look at `a.b.c`. " + " ".join(["word"] * 20) + ".",
        "| " + " ".join(["word"] * 15) + " | " + " ".join(["word"] * 15) + " |",
        "```text\nWhat is told anew\n```",
    ],
)
def test_good_prose_is_left_alone(text: str) -> None:
    """Questions, code, cells of a table and short sentences break nothing."""
    assert of_markdown(f"{text}\n") == []
