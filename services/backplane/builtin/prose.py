"""Markdown, reStructuredText, HTML → the prose in it: paragraphs without code, badges, tables and mark-up. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Final

from markdown_it import MarkdownIt

_SILENT: Final = frozenset({"script", "style", "nav", "pre", "code", "header", "footer", "svg", "table", "head"})
_BLOCKS: Final = frozenset(
    {"p", "div", "li", "section", "article", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "br"}
)
_RST_MARKS: Final = re.compile(r"(?m)^\s*(\.\. |__ |:\w[\w -]*:|[=\-~^\"'*+#]{3,}\s*$|\|.*\|\s*$|[+][-=+]+[+])")
_RST_LINK: Final = re.compile(r"`([^`<]+?)\s*<[^`>]+>`__?")
_RST_ROLE: Final = re.compile(r"(?::[\w:.+-]+:)?`+~?([^`]+?)`+_{0,2}")
_RST_REFERENCE: Final = re.compile(r"\b(\w+)_{1,2}(?=[\s.,;:)]|$)")
_URL: Final = re.compile(r"<?https?://[^\s>)\]]+>?")
_CHORES: Final = re.compile(
    r"change ?log|release|history|what.?s new|changes|contribut|licen[sc]e|install|credits?|authors?|sponsor|badges|"
    r"develop|test(s|ing)\b|build|security|support|community|acknowledg|migrat|upgrad|contents|code of conduct",
    re.IGNORECASE,
)
"""Headings of sections about a project's chores; what stands below them is not about its subject."""
_RST_TITLE: Final = re.compile(r"(?:^|\n)(?P<title>[^\n]{2,80})\n(?P<line>[=\-~^\"'*+#])(?P=line){2,}\s*$")
_SPACE: Final = re.compile(r"\s+")


def paragraphs(text: str, kind: str) -> list[str]:
    """The paragraphs of prose in ``text``, white space made even; ``kind``: markdown, rst, html or text."""
    if kind == "markdown":
        found = _markdown(text)
    elif kind == "html":
        found = _html(text)
    elif kind == "rst":
        found = _rst(text)
    else:
        found = re.split(r"\n\s*\n", text)
    cleaned = (_SPACE.sub(" ", _URL.sub("", paragraph)).strip() for paragraph in found)
    return [paragraph for paragraph in cleaned if paragraph]


def _markdown(text: str) -> list[str]:
    found: list[str] = []
    tables = 0
    heading = ""
    skipping = ""
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        if token.type in ("heading_open", "heading_close"):
            heading = token.tag if token.type == "heading_open" else ""
        elif token.type in ("table_open", "table_close"):
            tables += token.nesting
        elif token.type == "inline" and heading:
            # h2 < h3 as text: a section ends at the next heading of its level or above
            if not skipping or heading <= skipping:
                skipping = heading if _CHORES.search(token.content) else ""
        elif token.type == "inline" and not tables and not skipping:
            found.append(
                "".join(_INLINE[child.type](child.content) for child in token.children or [] if child.type in _INLINE)
            )
        elif token.type == "html_block" and not skipping:
            found.extend(_html(token.content))
    return found


_INLINE: Final[dict[str, Callable[[str], str]]] = {
    "text": str,
    "code_inline": str,
    "softbreak": lambda _: " ",
    "hardbreak": lambda _: " ",
}
"""Inline tokens that are prose → their text; images and raw HTML are not."""


class _Prose(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = [""]
        self.silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _SILENT:
            self.silent += 1
        elif tag in _BLOCKS:
            self.found.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in _SILENT:
            self.silent = max(0, self.silent - 1)
        elif tag in _BLOCKS:
            self.found.append("")

    def handle_data(self, data: str) -> None:
        if not self.silent:
            self.found[-1] += data


def _html(text: str) -> list[str]:
    parser = _Prose()
    parser.feed(text)
    parser.close()
    return parser.found


def _rst(text: str) -> list[str]:
    """Blocks that are prose: not directives, not what is indented below them, not tables or underlines."""
    found: list[str] = []
    skipping = ""
    for block in re.split(r"\n\s*\n", text.expandtabs(4)):
        title = _RST_TITLE.search(block)
        if title is not None and (not skipping or title["line"] == skipping):
            skipping = title["line"] if _CHORES.search(title["title"]) else ""
        if skipping:
            continue
        lines = [line for line in block.splitlines() if line.strip()]
        if not lines or lines[0].startswith((" ", "..", ">>>", "$")) or any(_RST_MARKS.match(line) for line in lines):
            continue
        for item in re.split(r"(?m)^[-*+] ", "\n".join(lines)):
            joined = " ".join(line.strip() for line in item.splitlines())
            joined = _RST_ROLE.sub(r"\1", _RST_LINK.sub(r"\1", joined))
            joined = _RST_REFERENCE.sub(r"\1", re.sub(r"\*\*?([^*]+)\*\*?", r"\1", joined))
            found.append(joined.replace("::", ":"))
    return found
