"""``SECURITY.md`` names a test for each of its claims: every one of them is there, and every attacker has some."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
NAMED: Final = re.compile(r"`(tests/[\w/]+(?:\.py)?|…(?:/\w+\.py)?)(?:::(\w+))?`")
ATTACKERS: Final = (
    *("No access", "Network", "Kafka, reading", "Kafka, writing, without any key", "One agent's key"),
    *("An operator's token", "A provider", "An MCP server", "A document that a model reads"),
)
NEEDS_NO_TEST: Final = ("No access",)


def _named(text: str) -> Iterator[tuple[Path, str]]:
    """File and test of each reference; ``…`` stands for the file before, or its folder."""
    last = ROOT
    for place, test in NAMED.findall(text):
        if place == "…":
            path = last
        elif place.startswith("…/"):
            path = last.parent / place.removeprefix("…/")
        else:
            path = ROOT / place
        last = path
        yield path, test


def _sections() -> dict[str, str]:
    parts = re.split(r"^### (.+)$", PAGE.split("## Reporting")[0], flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_each_test_that_the_page_names_is_there() -> None:
    """A test that was renamed or taken away would leave a claim without its proof."""
    missing = []
    for path, test in _named(PAGE):
        text = path.read_text(encoding="utf-8") if path.is_file() else "" if not path.is_dir() else "def "
        if not text or (test and not re.search(rf"^(?:async )?def {test}\(", text, re.MULTILINE)):
            missing.append(f"{path.relative_to(ROOT)}::{test}")

    assert missing == []
    assert len(list(_named(PAGE))) > 60


def test_each_attacker_has_a_section_with_claims_and_tests() -> None:
    """What he can and cannot do, none of it without a test."""
    sections = _sections()

    assert tuple(sections) == ATTACKERS
    for name, text in sections.items():
        assert len(text.split()) > 10, name
        assert name in NEEDS_NO_TEST or list(_named(text)), name
        for line in text.splitlines():
            if line.startswith("|") and not re.match(r"\| (cannot|---)|\|---", line):
                assert list(_named(line)), line
