"""What may import what, and how modules are cut: read from the source, so that nothing has to be imported for it."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = ("agents_sdk", "services")
FILES: Final = sorted(path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

SHELLS_ONLY: Final = {"faust", "mode", "clickhouse_connect", "chdb", "backplane"}
"""What an agent author's process must never need."""
CORE_MAY: Final = {"msgspec", "uuid_utils", "jsonschema_rs", "__future__"}
IMPURE: Final = {"time", "random", "os", "asyncio", "logging", "secrets", "threading", "socket", "subprocess"}
"""Modules through which a decision would see a clock, chance or the world."""
IMPURE_ATTRIBUTES: Final = {"uuid1", "uuid4", "uuid7", "now", "utcnow", "today"}
IMPURE_CALLS: Final = {"open", "print", "input", "uuid1", "uuid4", "uuid7"}
ROOMS: Final[dict[str, set[str]]] = {
    "manifests": {"recovery", "providers", "executor", "builtin"},
    "recovery": {"providers", "executor", "builtin"},
    "providers": {"executor", "builtin"},
    "executor": {"builtin"},
    "builtin": {"executor"},
    "store": {"sink", "insight", "console"},
    "sink": {"insight", "console"},
    "insight": {"console"},
}
"""Room → rooms that lie above it, or beside it: it imports nothing from these. No room imports the CLI."""
VAGUE: Final = {"utils", "util", "helpers", "helper", "manager", "base", "common", "misc"}
FILE_LINES: Final = 400
FUNCTION_LINES: Final = 40
EXCUSE: Final = "# long because:"


@cache
def source(path: Path) -> str:
    return (ROOT / path).read_text()


def imported(text: str, package: str) -> Iterator[str]:
    """Modules that the source imports, in full, wherever in the file; relative ones resolved against ``package``."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{origin}.{alias.name}" for alias in node.names)
            yield origin


def within(module: str, packages: set[str]) -> bool:
    """Whether the module is one of the packages or lies in one."""
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def import_faults(path: Path, text: str) -> list[str]:
    """Imports that point the wrong way: services → agents_sdk → core, never back; the local platform only from it and
    the CLI; the CLI from nowhere else, since what it and the console both say belongs to neither; no room from one
    above it (``ROOMS``)."""
    modules = set(imported(text, ".".join(path.parent.parts).removeprefix("services.")))
    faults: set[str] = set()
    if path.parts[0] == "agents_sdk":
        faults |= {module for module in modules if within(module, SHELLS_ONLY)}
    if path.parts[:2] == ("agents_sdk", "core"):
        faults |= {m for m in modules if within(m, {"agents_sdk"}) and not within(m, {"agents_sdk.core"})} - {
            "agents_sdk"
        }
        outside = {m for m in modules if not within(m, {*CORE_MAY, "agents_sdk"})}
        faults |= {m for m in outside if m.split(".")[0] not in sys.stdlib_module_names or within(m, IMPURE)}
    if path.parts[:3] not in (("services", "backplane", "platform"), ("services", "backplane", "cli")):
        faults |= {module for module in modules if within(module, {"backplane.platform", "backplane.cli"})}
    faults |= {module for module in modules if within(module, {"tests"})}
    if path.parts[:2] == ("services", "backplane"):
        above = {f"backplane.{room}" for room in ROOMS.get(path.parts[2], ())}
        faults |= {module for module in modules if within(module, above)}
    return sorted(faults)


def impure_names(text: str) -> list[str]:
    """Names in a core through which it could see a clock, make an id from chance, or act."""
    used: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Name):
            used |= {node.id} & IMPURE
        elif isinstance(node, ast.Attribute):
            used |= {node.attr} & IMPURE_ATTRIBUTES
        elif isinstance(node, ast.alias):
            used |= set(node.name.split(".")) & (IMPURE | IMPURE_ATTRIBUTES)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            used |= {node.func.id} & IMPURE_CALLS
    return sorted(used)


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from ``def`` to the end, docstring not counted: what it promises does not make it longer."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def length_faults(text: str) -> list[str]:
    """What is too long, unless the top of the file says why."""
    lines = text.splitlines()
    if any(line.startswith(EXCUSE) and len(line) > len(EXCUSE) + 10 for line in lines[:30]):
        return []
    faults = [f"{len(lines)} lines"] if len(lines) > FILE_LINES else []
    functions = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    return faults + [f"{f.name} has {body_lines(f)} lines" for f in functions if body_lines(f) > FUNCTION_LINES]


def test_imports_point_one_way() -> None:
    """services → agents_sdk → core, never back; nothing but the local platform and the CLI imports these two."""
    faults = {str(path): wrong for path in FILES if (wrong := import_faults(path, source(path)))}
    assert faults == {}


def test_the_core_sees_no_clock_no_chance_and_no_world() -> None:
    """Decisions are functions of values: nothing in agents_sdk/core so much as names a way out."""
    core = [path for path in FILES if path.parts[:2] == ("agents_sdk", "core")]
    assert core
    assert {str(path): names for path in core if (names := impure_names(source(path)))} == {}


def test_modules_are_named_by_a_noun() -> None:
    """A module that is called utils holds what nobody found a place for."""
    assert [str(path) for path in FILES if VAGUE & {path.stem.lstrip("_"), *path.parts[:-1]}] == []


def test_files_and_functions_are_short_or_say_why_not() -> None:
    """At most 400 lines a file and 40 a function, or ``# long because: …`` at the top of the file."""
    assert {str(path): faults for path in FILES if (faults := length_faults(source(path)))} == {}


def test_files_of_tests_are_short_or_say_why_not() -> None:
    """The same for tests, whose functions tell a story and may be as long as it is."""
    tests = [path.relative_to(ROOT) for path in (ROOT / "tests").rglob("*.py")]
    long = {str(path): [fault for fault in length_faults(source(path)) if " has " not in fault] for path in tests}
    assert {path: faults for path, faults in long.items() if faults} == {}


@pytest.mark.parametrize(
    ("path", "text", "fault"),
    [
        ("agents_sdk/client.py", "import faust", "faust"),
        ("agents_sdk/client.py", "def f():\n    from clickhouse_connect import get_client", "clickhouse_connect"),
        ("agents_sdk/client.py", "from backplane.ledger import app", "backplane.ledger"),
        ("agents_sdk/core/x.py", "from agents_sdk import errors", "agents_sdk.errors"),
        ("agents_sdk/core/x.py", "from agents_sdk.wire.codec import Codec", "agents_sdk.wire.codec"),
        ("agents_sdk/core/ledger/x.py", "from ...wire import codec", "agents_sdk.wire"),
        ("agents_sdk/core/x.py", "import pydantic", "pydantic"),
        ("agents_sdk/core/x.py", "from time import monotonic", "time"),
        ("services/backplane/ledger/x.py", "import backplane.platform.platform", "backplane.platform.platform"),
        ("services/backplane/dlq/x.py", "def f():\n    from backplane.cli.paint import show", "backplane.cli.paint"),
        ("services/backplane/cli/x.py", "import tests.support", "tests.support"),
        ("services/backplane/store/x.py", "from backplane.sink.source import GROUP", "backplane.sink.source"),
        (
            "services/backplane/recovery/x.py",
            "def f():\n    from backplane.providers import python",
            "backplane.providers",
        ),
        ("services/backplane/manifests/model/x.py", "from ...builtin import publish", "backplane.builtin"),
    ],
)
def test_an_import_the_wrong_way_is_found(path: str, text: str, fault: str) -> None:
    """The check can fail: each kind of wrong import is named, inside functions too."""
    assert fault in import_faults(Path(path), text)


def test_imports_the_right_way_are_let_through() -> None:
    """The check is no blanket refusal."""
    sound = "from __future__ import annotations\nimport re\nimport msgspec\nfrom agents_sdk.core import ids\n"
    assert import_faults(Path("agents_sdk/core/x.py"), sound) == []
    of_the_cli = "from backplane.platform import platform\nimport agents_sdk"
    assert import_faults(Path("services/backplane/cli/x.py"), of_the_cli) == []


@pytest.mark.parametrize(
    "text", ["import os", "x = uuid.uuid4()", "datetime.now()", "from uuid import uuid4 as ident", "print(1)"]
)
def test_a_way_out_of_the_core_is_found(text: str) -> None:
    """The check can fail: modules, attributes, imported names and builtins."""
    assert impure_names(text)


def test_what_is_too_long_is_found_unless_it_says_why() -> None:
    """The check can fail, counts no docstring, and takes a reason but not a bare marker."""
    long_file, long_function = "x = 1\n" * 401, "def f():\n" + "    x = 1\n" * 40
    assert length_faults(long_file) == ["401 lines"]
    assert length_faults(long_function) == ["f has 41 lines"]
    assert length_faults("def f():\n" + '    """Says."""\n' + "    x = 1\n" * 39) == []
    assert length_faults(f"{EXCUSE} one table, cut anywhere it would be harder to read\n{long_file}") == []
    assert length_faults(f"{EXCUSE}\n{long_file}") == ["402 lines"]
