"""Prose that a reader without much English understands: no banned word or opening, and no sentence above 25 words.

``python -m tests.support.prose`` lists what breaks the rules, by file; with ``--write`` it writes the number of
exceptions of each file into the baseline. The total of the baseline may only go down. Tests need not follow the rules
yet: ``python -m tests.support.prose tests`` lists what would break them there.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterable, Iterator
from inspect import cleandoc
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[2]
BASELINE: Final = ROOT / "tests" / "architecture" / "prose_exceptions.txt"
WORDS_LIMIT: Final = 25
"""Of one sentence."""
BANNED: Final = re.compile(
    r"\b(told|anew|whoever|of late|behind|whosoever|wherefore|thereof|hitherto)\b", re.IGNORECASE
)
OPENINGS: Final = re.compile(r"(What|Whatever|Whoever|Who|Whose|Whom|Nor|But for)\b")
"""A question may begin so; a statement that does hides its subject."""
SENTENCE_END: Final = re.compile(r"(?<=[.!?…])[\"')\]*_”]*\s+")
CODE: Final = re.compile(r"``.+?``|`[^`]+`", re.DOTALL)
ABBREVIATION: Final = re.compile(r"\b(e\.g|i\.e|etc|vs|cf|No|approx)\.\s")
FENCE: Final = re.compile(r"^ *(```|~~~).*?^ *\1", re.DOTALL | re.MULTILINE)
FROZEN: Final = {
    ("agents_sdk/core/ledger/calls.py", "whether its effect happened is not known; look, and call anew if it did not"),
    (
        "agents_sdk/core/ledger/dead_letters.py",
        " times and never handled; mend what it dies of, then send it anew",
    ),
    ("agents_sdk/core/ledger/references.py", "send anew"),
}
"""Texts of refusals that 0.1.0 recorded, each with its file. A run is replayed byte by byte, so its refusals keep their
words; a new text takes none of these as its model."""
PACKAGES: Final = ("agents_sdk", "services")
PAGES: Final = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md")


class Fault(NamedTuple):
    """A place that breaks a rule."""

    line: int
    rule: str
    text: str

    def __str__(self) -> str:
        return f"{self.line}: {self.rule}: {self.text[:160]}"


def words(sentence: str) -> int:
    """How many words it has; a piece of code, a link or a number is one."""
    plain = re.sub(r"\]\([^)]*\)", "]", CODE.sub("code", sentence))
    return sum(any(char.isalnum() for char in word) for word in plain.split())


def sentences(paragraph: str) -> Iterator[str]:
    """The sentences of a paragraph, in order. A point within code ends none."""
    held: list[str] = []

    def hold(found: re.Match[str]) -> str:
        held.append(found[0])
        return f"`{len(held) - 1}`"

    text = ABBREVIATION.sub(lambda found: found[0].replace(". ", "\N{NO-BREAK SPACE}"), CODE.sub(hold, paragraph))
    for part in SENTENCE_END.split(text):
        sentence = re.sub(r"`(\d+)`", lambda found: held[int(found[1])], part).strip()
        if sentence:
            yield sentence


def faults_of(paragraph: str, line: int) -> Iterator[Fault]:
    """What a paragraph breaks."""
    for sentence in sentences(" ".join(paragraph.split())):
        opening = OPENINGS.match(sentence.lstrip("*_\"'“(- "))
        if opening and not sentence.rstrip("*_\"'”)").endswith("?"):
            yield Fault(line, f"begins with {opening[0]!r}", sentence)
        banned = BANNED.search(CODE.sub("", sentence))
        if banned:
            yield Fault(line, f"says {banned[0]!r}", sentence)
        if words(sentence) > WORDS_LIMIT:
            yield Fault(line, f"has {words(sentence)} words", sentence)


ITEM: Final = re.compile(r"\s*([-*+•]|\d+\.|#+|>|\w[\w ,]*:$)\s")


def paragraphs(text: str, line: int) -> Iterator[tuple[int, str]]:
    """The paragraphs, items, headings and table cells of a text, without its code, each with its line."""
    text = FENCE.sub(lambda found: "\n" * found[0].count("\n"), text)
    text = re.sub(r"<!--.*?-->", lambda found: "\n" * found[0].count("\n"), text, flags=re.DOTALL)
    found: list[str] = []
    began = line
    literal = blank = False
    for number, row in enumerate([*text.split("\n"), ""], line):
        if ((literal or blank) and row.startswith("    ")) or (literal and not row.strip()):
            continue  # a block that is indented after a blank line is no prose: a tree, a layout, an example
        literal, blank = False, not row.strip()
        if not row.strip() or ITEM.match(f"{row} ") or row.lstrip().startswith("|"):
            if found:
                yield began, " ".join(found)
            found, began = [], number
        if row.lstrip().startswith("|"):
            yield from ((number, cell.strip()) for cell in row.strip().strip("|").split("|") if cell.strip(" -:"))
        elif row.strip() and not re.match(r"\s*(\?\?\?|!!!|===)", row):
            began = began if found else number
            found.append(re.sub(r"^\s*([-*+•]|\d+\.|#+|>)\s+", "", row))
            if row.rstrip().endswith("::"):
                literal = True


def of_markdown(text: str) -> list[Fault]:
    """The faults of a page."""
    front = re.sub(r"\A---\n.*?\n---\n", lambda found: "\n" * found[0].count("\n"), text, flags=re.DOTALL)
    return [fault for line, paragraph in paragraphs(front, 1) for fault in faults_of(paragraph, line)]


def _strings(tree: ast.Module) -> Iterator[tuple[int, str, bool]]:
    """Each text of a module, and whether it is a docstring: a statement by itself."""
    documents = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value, id(node) in documents


def of_python(text: str, path: str = "") -> list[Fault]:
    """The faults of a module: all rules for docstrings, banned words in comments and in messages. ``path``: of a file
    whose frozen texts are no faults."""
    found: list[Fault] = []
    for line, value, document in _strings(ast.parse(text)):
        if document:
            found += [fault for at, part in paragraphs(cleandoc(value), line) for fault in faults_of(part, at)]
        elif " " in value and (path, value) not in FROZEN and (banned := BANNED.search(value)):
            found.append(Fault(line, f"says {banned[0]!r}", value))
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and (banned := BANNED.search(CODE.sub("", token.string))):
            found.append(Fault(token.start[0], f"says {banned[0]!r}", token.string))
    return sorted(found)


def files() -> Iterator[Path]:
    """All that people read: pages, and the modules of the packages and examples."""
    for page in PAGES:
        yield ROOT / page
    yield from sorted((ROOT / "docs").rglob("*.md"))
    for folder in (*PACKAGES, "examples", "docs"):
        yield from sorted((ROOT / folder).rglob("*.py"))


def counted(paths: Iterable[Path] | None = None) -> dict[str, list[Fault]]:
    """File → its faults, for files that have any; of all that the rules hold for, or of these."""
    found: dict[str, list[Fault]] = {}
    for path in files() if paths is None else paths:
        text = path.read_text(encoding="utf-8")
        name = str(path.relative_to(ROOT))
        if faults := of_markdown(text) if path.suffix == ".md" else of_python(text, name):
            found[name] = faults
    return found


def allowed() -> dict[str, int]:
    """File → how many exceptions the baseline allows it. Of a conflict between two branches the lower number counts."""
    found: dict[str, int] = {}
    for path, count in re.findall(r"^([^#<>=\s]\S*) (\d+)$", BASELINE.read_text(), re.MULTILINE):
        found[path] = min(int(count), found.get(path, int(count)))
    return found


HEAD: Final = (
    "# Exceptions to the prose rules, by file (tests/support/prose.py). The total may only go down: `make prose`.\n"
)


def main(arguments: list[str]) -> int:
    """The faults of the files named, or of all; ``--write`` lowers the baseline and refuses to raise its total."""
    tests = any(each.startswith("tests") for each in arguments)
    found = counted(sorted((ROOT / "tests").rglob("*.py")) if tests else None)
    if "--write" not in arguments:
        for path, faults in found.items():
            if not arguments or any(path.startswith(each) for each in arguments):
                print(*(f"{path}:{fault}" for fault in faults), sep="\n")
        return 0
    total = sum(map(len, found.values()))
    before = sum(allowed().values()) if BASELINE.exists() else total
    if total > before:
        print(f"{total} exceptions, {before} are allowed; mend the new ones: python -m tests.support.prose FILE")
        return 1
    BASELINE.write_text(HEAD + "".join(f"{path} {len(faults)}\n" for path, faults in sorted(found.items())))
    print(f"{total} exceptions, {before} before")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
