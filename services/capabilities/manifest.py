"""YAML text → Capability; what is wrong is said with file, line, column and path. Pure but for reading files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import ValidationError

from agents_sdk.errors import BackplaneError
from services.capabilities.model import Capability

_FAST: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Twelve manifests took 0.15 s of an executor's start in pure Python."""


class ManifestError(BackplaneError):
    """A manifest that cannot be used; ``fields`` has ``file``, ``line`` and ``column`` (from 1) and ``path`` (dotted,
    may be "")."""

    code = "manifest"

    def __init__(
        self, problem: str, *, file: str, line: int = 1, column: int = 1, path: str = "", hint: str = ""
    ) -> None:
        where = f"{file}:{line}:{column}: " + (f"{path}: " if path else "")
        super().__init__(where + problem, hint=hint, file=file, line=line, column=column, path=path)


def read(path: Path) -> Capability:
    """The capability in the file. Raises ManifestError for the first problem."""
    capability, problems = examine(path)
    if capability is None:
        raise problems[0]
    return capability


def examine(path: Path) -> tuple[Capability | None, list[ManifestError]]:
    """The capability in the file, or all that is wrong with it."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        return None, [ManifestError(f"cannot be read: {error}", file=str(path))]
    return _examined(text, str(path))


def parse(text: str, file: str) -> Capability:
    """The capability in the text; ``file`` is for messages. Raises ManifestError for the first problem."""
    capability, problems = _examined(text, file)
    if capability is None:
        raise problems[0]
    return capability


def _examined(text: str, file: str) -> tuple[Capability | None, list[ManifestError]]:
    try:
        node = _composed(text)
    except yaml.MarkedYAMLError as error:
        line, column = _place(error.problem_mark) if error.problem_mark else (1, 1)
        return None, [ManifestError(f"not YAML: {error.problem or error}", file=file, line=line, column=column)]
    except yaml.YAMLError as error:
        return None, [ManifestError(f"not YAML: {error}", file=file)]
    if not isinstance(node, yaml.MappingNode):
        return None, [ManifestError("a manifest is a mapping", file=file, hint="begin it with 'name: …'")]
    twice = [
        ManifestError(f"key {key.value!r} is given twice", file=file, line=line, column=column)
        for key in _duplicates(node)
        for line, column in (_place(key.start_mark),)
    ]
    if twice:
        return None, twice
    try:
        return Capability.model_validate(yaml.load(text, _FAST)), []  # noqa: S506 -- safe, in C
    except ValidationError as invalid:
        return None, [_problem(each, node, file) for each in invalid.errors()]


def _composed(text: str) -> yaml.Node | None:
    """Raises YAMLError, with the words of the loader that is not in C: they say more."""
    try:
        return yaml.compose(text, Loader=_FAST)
    except yaml.YAMLError:
        return yaml.compose(text, Loader=yaml.SafeLoader)


def _place(mark: yaml.Mark) -> tuple[int, int]:
    return mark.line + 1, mark.column + 1


def _problem(error: Any, node: yaml.Node, file: str) -> ManifestError:
    line, column, path = _locate(node, error["loc"])
    message = str(error["msg"]).removeprefix("Value error, ")
    given = error.get("input")
    if error["type"] == "extra_forbidden":
        message = "no such key; remove it or mend its spelling"
    elif error["type"] == "missing":
        message = "is missing"
    elif isinstance(given, str | int | float):
        message = f"{message}, not {given!r}"
    return ManifestError(message, file=file, line=line, column=column, path=path)


def _locate(node: yaml.Node, loc: tuple[int | str, ...]) -> tuple[int, int, str]:
    """(line, column, dotted path) of what pydantic names: parts that the document does not have, such as the tag of a
    union or a missing key, leave the place at what encloses them."""
    mark = node.start_mark
    path: list[str] = []
    for position, part in enumerate(loc):
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == str(part)), None)
            if found is not None:
                mark, node = found[0].start_mark, found[1]
                path.append(str(part))
            elif position == len(loc) - 1:
                path.append(str(part))
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            mark = node.start_mark
            path.append(str(part))
    return *_place(mark), ".".join(path)


def _duplicates(node: yaml.Node) -> Iterator[yaml.Node]:
    """Keys that stand twice in one mapping: YAML loaders keep the last one, silently."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                yield key
            seen.add(key.value)
            yield from _duplicates(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _duplicates(item)
