"""Kinds of commands and facts are one table, ``agents_sdk/core/kinds.py``. They are those of the schemas."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from agents_sdk import schemas
from agents_sdk.core import identity, kinds
from agents_sdk.topics import TOPIC_OF_FACT

ROOT: Final = Path(__file__).parents[2]
KINDS: Final = frozenset((*kinds.COMMANDS, *kinds.FACTS))
HOME: Final = ROOT / "agents_sdk/core/kinds.py"
CLASSES: Final = {
    ROOT / "agents_sdk/__init__.py": "names of errors, some of which are called as the fact that they tell of",
    ROOT / "services/backplane/manifests/model/__init__.py": "names of parts of a manifest",
}
"""Files in which a string of a kind's spelling is the name of a class."""
PRODUCT: Final = sorted(
    path for folder in ("agents_sdk", "services/backplane") for path in (ROOT / folder).rglob("*.py")
)
SQL: Final = sorted(
    path for folder in ("services/backplane", "schemas/clickhouse") for path in (ROOT / folder).rglob("*.sql")
)
TEMPLATES: Final = sorted((ROOT / "services/backplane").rglob("*.html"))
QUOTED: Final = re.compile(r"""['"]((?:[A-Z][a-z]+){2,})['"]""")
NO_KINDS: Final = frozenset({"Unreadable"})


def latest(record: str) -> dict[str, Any]:
    """The newest schema of a record."""
    return schemas.latest(record)


def strings(path: Path) -> Iterator[tuple[int, str]]:
    """The string literals of a module, without docstrings, each with its line."""
    tree = ast.parse(path.read_text())
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.lineno, node.value


def bare(path: Path) -> list[str]:
    """Where a module spells a kind."""
    return [f"{path.relative_to(ROOT)}:{line}: {text!r}" for line, text in strings(path) if text in KINDS]


def asked_of_kind(text: str) -> set[str]:
    """The kinds that a piece of SQL or a template compares with, as far as a pattern can tell."""
    found: set[str] = set()
    for match in re.finditer(
        r"kind\s*(?:=|==|!=|IN|NOT IN|in|not in)\s*(\([^()]*\)|\[[^\[\]]*\]|'[^']*'|\"[^\"]*\")", text
    ):
        found |= set(QUOTED.findall(match.group(1)))
    return found


def test_kinds_are_those_of_the_schemas() -> None:
    """Same words, same order, so a difference of one word is shown as that word."""
    assert list(kinds.COMMANDS) == latest("Command")["kinds"]
    assert sorted(kinds.FACTS) == sorted(kind for record in TOPIC_OF_FACT for kind in latest(record.__name__)["kinds"])


def test_each_kind_has_a_constant_of_its_name() -> None:
    """``kinds.RUN_STARTED`` is ``RunStarted``, and each one is a plain string: Avro and JSON write it as it is."""
    for kind in KINDS:
        constant = getattr(kinds, re.sub(r"(?<!^)(?=[A-Z])", "_", kind).upper())
        assert constant == kind
        assert type(constant) is str


def test_groups_have_kinds_of_one_sort() -> None:
    """A group is of commands or of facts, and has nothing twice."""
    groups = {
        name: tuple(value) for name, value in vars(kinds).items() if isinstance(value, tuple | dict) and name.isupper()
    }
    assert {"RUN_ENDS", "CALL_ENDS", "STATE_WRITES", "BY_EXECUTOR"} <= set(groups)
    for name, group in groups.items():
        assert len(set(group)) == len(group), name
        assert set(group) <= set(kinds.COMMANDS) or set(group) <= set(kinds.FACTS), name


def test_no_kind_is_spelt_elsewhere() -> None:
    """A kind that is misspelt in a comparison is never equal, and nothing says so."""
    found = [where for path in PRODUCT if path != HOME and path not in CLASSES for where in bare(path)]
    assert found == []
    assert bare(HOME), "the search finds nothing at all"
    assert all(bare(path) for path in CLASSES), "a file needs no exception any more"


@pytest.mark.parametrize("path", [*SQL, *TEMPLATES], ids=lambda path: path.name)
def test_sql_and_templates_ask_for_kinds_that_there_are(path: Path) -> None:
    """SQL has its kinds in its own text; each is one of the table."""
    assert asked_of_kind(path.read_text()) - NO_KINDS <= KINDS


def test_sql_in_python_asks_for_kinds_that_there_are() -> None:
    """The same for queries that stand in a module; and the pattern does find some."""
    found = {path: set().union(*(asked_of_kind(text) for _, text in strings(path))) for path in PRODUCT}
    assert {str(path): names - KINDS - NO_KINDS for path, names in found.items() if names - KINDS - NO_KINDS} == {}
    assert any(found.values())
    assert any(asked_of_kind(path.read_text()) for path in SQL)


def test_the_platforms_own_names_stand_once() -> None:
    """``bp.ledger`` and the others are senders, Kafka users and consumer groups: a misspelt one is another party."""
    reserved = {value for name, value in vars(identity).items() if name.isupper() and isinstance(value, str)}
    reserved.discard(identity.RESERVED)
    assert reserved == {"bp.operator", "bp.ledger", "bp.executor", "bp.sink", "bp.broker"}
    home = ROOT / "agents_sdk/core/identity.py"
    assert [
        f"{path.relative_to(ROOT)}:{line}"
        for path in PRODUCT
        if path != home
        for line, text in strings(path)
        if text in reserved
    ] == []
