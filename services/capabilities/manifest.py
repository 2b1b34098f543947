"""YAML text → Capability; what is wrong is said with file, line, column and path. Pure but for reading files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from agents_sdk.errors import BackplaneError
from services.capabilities import yaml_values
from services.capabilities.model import Capability


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
        node = yaml_values.compose(text)
        if not isinstance(node, yaml.MappingNode):
            return None, [ManifestError("a manifest is a mapping", file=file, hint="begin it with 'name: …'")]
        value = yaml_values.value_of(node)
    except yaml_values.Problem as problem:
        line, column = _place(problem.mark)
        return None, [ManifestError(problem.message, file=file, line=line, column=column)]
    except yaml.MarkedYAMLError as error:
        line, column = _place(error.problem_mark) if error.problem_mark else (1, 1)
        return None, [ManifestError(f"not YAML: {error.problem or error}", file=file, line=line, column=column)]
    except yaml.reader.ReaderError as error:
        line, column = _position(text, error.position)
        told = f"not YAML: the character {error.character!a} is not allowed"
        return None, [ManifestError(told, file=file, line=line, column=column)]
    except yaml.YAMLError as error:
        return None, [ManifestError(f"not YAML: {error}", file=file)]
    try:
        return Capability.model_validate(value), []
    except ValidationError as invalid:
        return None, [_problem(each, node, file) for each in invalid.errors()]
    except RecursionError:
        return None, [ManifestError("it is nested too deeply", file=file)]


def _position(text: str, index: Any) -> tuple[int, int]:
    before = text[: index if isinstance(index, int) else 0]
    return before.count("\n") + 1, len(before) - before.rfind("\n")


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
