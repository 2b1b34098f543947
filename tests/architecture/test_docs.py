"""The documentation: it builds strictly, its snippets are files that tests run, its reference leaves nothing out."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

import agents_sdk
from agents_sdk import settings_model
from backplane.cli.app import COMMANDS, load
from docs.tools import reference_cli, reference_data, reference_sdk
from tests.scenarios import test_examples

ROOT: Final = Path(__file__).parents[2]
DOCS: Final = ROOT / "docs"
PAGES: Final = sorted(DOCS.rglob("*.md"))
FENCE: Final = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
INCLUDE: Final = re.compile(r"# file: (\S+)\n")
RUN: Final = {
    *(str(path.relative_to(ROOT)) for path in test_examples.FILES),
    *(f"docs/snippets/{name}.py" for name in ("start_run", "test_hello", "contracts")),
    "examples/weather_server.py",
    *(str(path.relative_to(ROOT)) for path in (ROOT / "examples" / "manifests").iterdir()),
    *(str(path.relative_to(ROOT)) for path in (DOCS / "snippets" / "manifests").iterdir()),
}
"""Files that ``tests/scenarios/test_examples.py`` runs or applies."""


def not_run(page: str) -> list[str]:
    """Snippets of a page in Python or YAML that are no file which a test runs."""
    return [
        body
        for language, body in FENCE.findall(page)
        if language in ("python", "py", "yaml") and not ((found := INCLUDE.fullmatch(body)) and found[1] in RUN)
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_every_snippet_is_a_file_that_a_test_runs(page: Path) -> None:
    """So none is wrong for longer than a test run."""
    assert not_run(page.read_text(encoding="utf-8")) == []


def test_a_snippet_that_nobody_runs_is_found() -> None:
    """The check can fail: code in the page itself, and a file that is not among those that are run."""
    assert not_run("```python\nprint()\n```\n")
    assert not_run("```python\n# file: docs/tools/pages.py\n```\n")
    assert not not_run("```python\n# file: examples/hello.py\n```\n")


def test_every_snippet_stands_in_a_page() -> None:
    """A snippet that no page shows is not needed."""
    shown = {path for page in PAGES for path in INCLUDE.findall(page.read_text(encoding="utf-8") + "\n")}

    assert {str(path.relative_to(ROOT)) for path in (DOCS / "snippets").rglob("*.*") if path.suffix != ".pyc"} <= shown


def command_lines(page: str) -> list[str]:
    """What a page tells people to type."""
    shown = [body for language, body in FENCE.findall(page) if language in ("console", "bash", "sh")]
    return [
        line[2:].split("   #")[0].split(" # ")[0] for body in shown for line in body.split("\n") if line[:2] == "$ "
    ]


@cache
def options_of(command: Any) -> set[str]:
    return {option for each in command.params for option in (*each.opts, *each.secondary_opts)} | {"--help", "-h"}


def fault_of(line: str) -> str:
    """What of a command line there is not; "" when it could be run."""
    words = shlex.split(line)
    if words[0] != "backplane":
        return ""
    if words[1] not in COMMANDS:
        return f"no command {words[1]}"
    command, rest = load(words[1]), words[2:]
    while getattr(command, "commands", None):
        if not rest or rest[0] not in command.commands:
            return f"no command {rest[:1]} of {command.name}" if rest or not command.callback else ""
        command, rest = command.commands[rest[0]], rest[1:]
    unknown = [word for word in rest if re.match(r"--?[a-z]", word) and word.split("=")[0] not in options_of(command)]
    return f"no option {unknown[0]} of {command.name}" if unknown else ""


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_line_could_be_run(page: Path) -> None:
    """The command, its sub-command and its options are there."""
    lines = command_lines(page.read_text(encoding="utf-8"))

    assert [found for line in lines if (found := fault_of(line))] == []


@pytest.mark.parametrize("line", ["backplane upp", "backplane dlq lst", "backplane runs --no-such"])
def test_a_command_line_that_cannot_be_run_is_found(line: str) -> None:
    """The check can fail, in each of its parts."""
    assert fault_of(line)


def headings(page: str) -> set[str]:
    return {re.sub(r"^#+ |`", "", line) for line in page.splitlines() if line.startswith("#")}


def test_the_reference_leaves_nothing_out() -> None:
    """Every public name, command, section of the settings, topic, record, table and view has its place."""
    sql = "".join(path.read_text() for path in (ROOT / "schemas" / "clickhouse").glob("*.sql"))
    records = [json.loads(path.read_text())["name"] for path in (ROOT / "schemas" / "avro").iterdir()]
    files = (ROOT / "schemas" / "topics").iterdir()
    topics = [re.findall(r"^topic: (\S+)$", path.read_text(), re.MULTILINE)[0].strip("\"'") for path in files]
    tables = re.findall(r"CREATE (?:TABLE|VIEW) (?:IF NOT EXISTS )?\{database\}\.(\w+)", sql)
    sections = [
        name
        for name, field in settings_model.Settings.model_fields.items()
        if hasattr(field.annotation, "model_fields")
    ]

    assert set(agents_sdk.__all__) <= headings(reference_sdk.sdk())
    assert {f"backplane {name}" for name in COMMANDS} <= headings(reference_cli.cli())
    assert set(sections) <= headings(reference_cli.settings())
    assert set(topics) <= headings(reference_data.topics())
    assert set(records) <= headings(reference_data.records())
    assert set(tables) <= headings(reference_data.tables())


def test_the_site_builds_strictly(tmp_path: Path) -> None:
    """No broken link, no page without a place; each page has a twin in Markdown and a line in ``llms.txt``."""
    if importlib.util.find_spec("mkdocs") is None or importlib.util.find_spec("material") is None:
        pytest.skip("NO DOCS: mkdocs-material is not installed here; `make install` brings it")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr

    site = tmp_path / "site"
    pages = {str(path.relative_to(site).with_suffix(".md")) for path in site.rglob("*.html")} - {"404.md"}
    twins = {str(path.relative_to(site)) for path in site.rglob("*.md")}
    listed = set(re.findall(r"\]\((\S+)\)", (site / "llms.txt").read_text()))
    assert len(pages) > 60
    assert pages == twins == listed
    assert "# file: " not in "".join((site / name).read_text() for name in twins)
