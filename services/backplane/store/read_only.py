"""Which SQL may be asked of the store by anyone: one statement, that reads, within the store.

ClickHouse's own ``readonly = 1`` refuses writes, settings and sources outside. But it lets ``SYSTEM …``, ``KILL
QUERY``, a second statement after a semicolon, ``file('/etc/passwd')`` and calls to language models pass (measured). So
the statement is also looked at, with ClickHouse's parser rather than one of ours.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from backplane.store.formats import FORMATTING

READING: Final = ("SELECT", "WITH", "SHOW", "DESCRIBE", "EXISTS", "EXPLAIN", "FROM", "(")
SELECTING: Final = ("SELECT", "WITH", "FROM", "(")
HARMLESS: Final = frozenset(
    (
        *(
            "generateRandom",
            "generateSeries",
            "generate_series",
            "numbers",
            "numbers_mt",
            "primes",
            "zeros",
            "zeros_mt",
        ),
        *("format", "loop", "merge", "null", "values", "view", "viewExplain", "viewIfPermitted"),
    )
)
"""Table functions that read nothing but the store or make numbers. All others are refused by name, new ones too. So is
the one scalar function that reads files, which is called ``file`` as well."""
FUNCTION: Final = re.compile(r"^ *Function (\S+)", re.MULTILINE)
LITERAL: Final = re.compile(r"'(?:[^'\\]|\\.|'')*'|`(?:[^`\\]|\\.)*`|\"(?:[^\"\\]|\\.)*\"")
APPLY: Final = re.compile(r"\bAPPLY\b\s*\(?\s*(\w+)(\s*->)?")
EXPLAIN: Final = re.compile(r"\bEXPLAIN\b")
PATHLIKE: Final = re.compile(r"[`\"'][^`\"']*[/\\][^`\"']*[`\"']")
"""A quoted name with a slash in it: the engine's own database takes it for a file."""
FORMAT: Final = re.compile(r" FORMAT (\w+)(?: SETTINGS .*)?$")
SETTINGS: Final = re.compile(r"\bSETTINGS ((?:\w+ = [^,()]+(?:, (?=\w+ = ))?)+)")
"""A clause of settings, as the formatter writes it; literals are empty by then."""
SETTING: Final = re.compile(r"(\w+) = ")
READONLY: Final = 164
FORMATTERS: Final = frozenset({"formatrow", "formatrownonewline"})
"""Functions that write by a format which is named in a value, where it is not seen."""
FORBIDDEN: Final = 497
MAKES_ROWS: Final = frozenset(
    ("numbers", "numbers_mt", "zeros", "zeros_mt", "values", "null", "generateseries", "generate_series")
)
"""Table functions that read no table, by lower-case name: the only ones for a principal with rules of rows."""
PUBLIC: Final = frozenset(("system.one", "system.numbers", "system.settings", "system.functions", "system.formats"))
"""Tables of the system that are about the engine, not about what it stores or who asks it."""
TABLE: Final = re.compile(r"^ *TableIdentifier (\S+)", re.MULTILINE)


@dataclass(frozen=True)
class Statement:
    """A statement that may be run."""

    format: str
    """The one it names itself; empty: none."""
    selects: bool
    """Its result may come block by block; chDB gives that of SHOW, DESCRIBE and the like in one piece only."""


class Statements:
    """Checks statements with the parser of the engine of ``handle``, which nothing else may use."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        self._lock = threading.Lock()
        names = self._ask("SELECT name FROM system.table_functions FORMAT TSVRaw").split("\n")
        models = self._ask("SELECT name FROM system.functions WHERE match(name, '^(ai|AI)[A-Z]') FORMAT TSVRaw")
        self._refused = (
            frozenset(name.lower() for name in (*names, *models.split("\n")) if name and name not in HARMLESS)
            | FORMATTERS
        )
        self._around = frozenset(name.lower() for name in names if name) - MAKES_ROWS

    def check(self, sql: str, parameters: Mapping[str, str], only: str = "") -> Statement:
        """The kind of a statement, if it may be run.

        Args:
            sql: one statement.
            parameters: values of its ``{name:Type}``.
            only: the database of a principal with rules of rows, who may read nothing else; empty: no such rules.

        Raises:
            QueryFailed: as a server would, 62 for what is no single statement, 164 for one that does not read.
        """
        from backplane.store.engine import QueryFailed

        try:
            plain = self._ask("SELECT formatQuerySingleLine({q:String}) FORMAT TSVRaw", q=_escaped(sql)).rstrip("\n")
            if not plain.lstrip().upper().startswith(READING):
                word = plain.split(" ", 1)[0]
                raise QueryFailed(
                    f"Code: {READONLY}. DB::Exception: Cannot execute {word} here: only SELECT, SHOW, DESCRIBE, "
                    "EXISTS, EXPLAIN and WITH are answered. (READONLY)"
                )
            tree = self._ask(f"EXPLAIN AST {plain}", **parameters) if not plain.startswith("EXPLAIN") else plain
        except RuntimeError as error:
            raise QueryFailed(str(error)) from error
        bare = LITERAL.sub("''", plain)
        if plain.startswith("EXISTS") and PATHLIKE.search(plain):
            raise QueryFailed(f"Code: {READONLY}. DB::Exception: A table's name has no slash here. (READONLY)")
        if " INTO OUTFILE " in bare:
            raise QueryFailed(f"Code: {READONLY}. DB::Exception: INTO OUTFILE is not answered here. (READONLY)")
        called = {name.lower() for name in FUNCTION.findall(tree)} | _called(bare) | _applied(bare)
        if called & self._refused:
            raise QueryFailed(
                f"Code: {FORBIDDEN}. DB::Exception: Function {min(called & self._refused)} reaches outside the store. "
                "(ACCESS_DENIED)"
            )
        if only:
            _check_within(only, bare, tree, called & self._around)
        for name in (name for clause in SETTINGS.findall(bare) for name in SETTING.findall(clause)):
            if name not in FORMATTING:
                raise QueryFailed(
                    f"Code: {READONLY}. DB::Exception: Cannot modify '{name}' setting in readonly mode. (READONLY)"
                )
        named = FORMAT.search(bare)
        return Statement(named.group(1) if named else "", plain.startswith(SELECTING))

    def _ask(self, sql: str, **parameters: str) -> str:
        with self._lock:
            result = self._handle.query(sql, "TSVRaw", params=parameters)
        return bytes(result.bytes()).decode() if result is not None else ""


def _check_within(database: str, plain: str, tree: str, around: set[str]) -> None:
    """Refuses what would read around the rules of rows: other databases, tables of the system, functions over parts."""
    from backplane.store.engine import QueryFailed

    if not plain.startswith((*SELECTING, "DESCRIBE")):
        what = plain.split(" ", 1)[0]
    elif EXPLAIN.search(plain):
        what = "EXPLAIN"
    elif around:
        what = f"function {min(around)}"
    else:
        named = (name.partition("(")[0] for name in TABLE.findall(tree))
        others = [name for name in named if "." in name and not name.startswith(f"{database}.") and name not in PUBLIC]
        what = f"table {others[0]}" if others else ""
    if what:
        raise QueryFailed(
            f"Code: {FORBIDDEN}. DB::Exception: {what} may show more than the runs you may see. (ACCESS_DENIED)"
        )


def _called(bare: str) -> set[str]:
    """Names before a bracket, too many rather than too few: the parser does not show the tree of an EXPLAIN, nor what
    is within APPLY."""
    return {name.lower() for name in re.findall(r"(\w+)\s*\(", bare)}


def _applied(bare: str) -> set[str]:
    """Functions that ``* APPLY name`` calls, which the parser does not show. Raises QueryFailed for one that is made on
    the spot: what it reads is shown nowhere."""
    from backplane.store.engine import QueryFailed

    found = APPLY.findall(bare)
    if any(arrow for _, arrow in found) or len(found) != len(re.findall(r"\bAPPLY\b", bare)):
        raise QueryFailed(
            f"Code: {FORBIDDEN}. DB::Exception: APPLY takes the name of a function here, and no expression. "
            "(ACCESS_DENIED)"
        )
    return {name.lower() for name, _ in found}


def _escaped(text: str) -> str:
    for plain, code in (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r"), ("\0", "\\0")):
        text = text.replace(plain, code)
    return text
