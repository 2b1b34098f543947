"""Hooks of MkDocs: generated pages, included snippets, a Markdown twin of each page, and ``llms.txt``."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

from docs.tools import reference_cli, reference_data, reference_sdk

ROOT: Final = Path(__file__).parents[2]
INCLUDE: Final = re.compile(r"^# file: (\S+)$", re.MULTILINE)
"""A line that stands for a file of the checkout."""


def _page_of_the_checkout(name: str, folder: str) -> str:
    """A page of the checkout's root; its links lead to the site, or are plain text where the site has no such page."""
    text = (ROOT / name).read_text(encoding="utf-8")

    def link(found: re.Match[str]) -> str:
        label, target = found[1], found[2]
        if "://" in target or target.startswith("#"):
            return found[0]
        if target.startswith("docs/"):
            return f"[{label}]({'../' * bool(folder)}{target.removeprefix('docs/')})"
        moved = {"SECURITY.md": "operate/threats.md", "ARCHITECTURE.md": "how-it-works/architecture.md"}.get(target)
        return f"[{label}]({'../' * bool(folder)}{moved})" if moved else label

    return re.sub(r"(?<!!)\[([^\]]+)\]\(([^)]+)\)", link, text)


GENERATED: Final[dict[str, Callable[[], str]]] = {
    "reference/cli.md": reference_cli.cli,
    "reference/settings.md": reference_cli.settings,
    "reference/metrics.md": reference_cli.metrics,
    "reference/sdk.md": reference_sdk.sdk,
    "reference/topics.md": reference_data.topics,
    "reference/records.md": reference_data.records,
    "reference/tables.md": reference_data.tables,
    "reference/manifests.md": reference_data.manifests,
    "reference/capabilities.md": reference_data.capabilities,
    "how-it-works/architecture.md": lambda: _page_of_the_checkout("ARCHITECTURE.md", "how-it-works"),
    "operate/threats.md": lambda: _page_of_the_checkout("SECURITY.md", "operate"),
    "changelog.md": lambda: _page_of_the_checkout("CHANGELOG.md", ""),
}
"""Page → what makes it."""
TWINS: Final[dict[str, tuple[str, str]]] = {}
"""Page → its title and its Markdown, of the build that runs."""


def included(text: str) -> str:
    """The text with its snippets. Raises PluginError for a file that is not there."""

    def content(found: re.Match[str]) -> str:
        file = ROOT / found[1]
        if not file.is_file():
            raise PluginError(f"a page includes {found[1]!r}, which is not in the checkout")
        return file.read_text(encoding="utf-8").rstrip()

    return INCLUDE.sub(content, text)


def on_files(files: Any, config: Any) -> Any:
    """Adds the generated pages."""
    TWINS.clear()
    for path, made in GENERATED.items():
        files.append(File.generated(config, path, content=made()))
    files.append(File.generated(config, "llms.txt", content="# made at the end of the build\n"))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Puts snippets in their places, and keeps the page for its twin."""
    text = included(markdown)
    heading = re.search(r"^# (.+)$", text, re.MULTILINE)
    TWINS[page.file.src_uri] = (heading[1] if heading else page.file.src_uri, text)
    return text


def on_post_build(config: Any) -> None:
    """Writes the twins, ``llms.txt`` with a line for each page, and ``llms-full.txt`` with all of them."""
    site = Path(config["site_dir"])
    lines = [f"# {config['site_name']}", "", f"> {config['site_description']}", ""]
    for path, (title, text) in sorted(TWINS.items()):
        twin = site / path
        twin.parent.mkdir(parents=True, exist_ok=True)
        twin.write_text(text, encoding="utf-8")
        lines.append(f"- [{title}]({path})")
    (site / "llms.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    whole = "\n\n".join(f"<!-- {path} -->\n\n{text}" for path, (_, text) in sorted(TWINS.items()))
    (site / "llms-full.txt").write_text(whole + "\n", encoding="utf-8")
