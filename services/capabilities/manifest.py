"""YAML text → Capability; what is wrong is said with file, line and path. Pure but for ``read``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from agents_sdk.errors import BackplaneError
from services.capabilities.model import Capability


class ManifestError(BackplaneError):
    """A manifest that cannot be used; ``fields`` has ``file``, ``line`` (from 1) and ``path`` (dotted, may be "")."""

    code = "manifest"

    def __init__(self, problem: str, *, file: str, line: int, path: str = "", hint: str = "") -> None:
        where = f"{file}:{line}: " + (f"{path}: " if path else "")
        super().__init__(where + problem, hint=hint, file=file, line=line, path=path)


def read(path: Path) -> Capability:
    """The capability in the file. Raises ManifestError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"cannot be read: {error}", file=str(path), line=1) from error
    return parse(text, str(path))


def parse(text: str, file: str) -> Capability:
    """The capability in the text; ``file`` is for messages. Raises ManifestError for the first problem."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        problem = f"not YAML: {error.problem or error}"
        raise ManifestError(problem, file=file, line=mark.line + 1 if mark else 1) from error
    except yaml.YAMLError as error:
        raise ManifestError(f"not YAML: {error}", file=file, line=1) from error
    if not isinstance(node, yaml.MappingNode):
        raise ManifestError("a manifest is a mapping", file=file, line=1, hint="begin it with 'name: …'")
    _refuse_duplicates(node, file)
    value = yaml.safe_load(text)
    try:
        return Capability.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        line, path = _locate(node, first["loc"])
        more = f" ({error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise ManifestError(_problem(first) + more, file=file, line=line, path=path) from error


def _problem(error: Any) -> str:
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        return "no such key; remove it or mend its spelling"
    if error["type"] == "missing":
        return "is missing"
    given = error.get("input")
    return f"{message}, not {given!r}" if isinstance(given, str | int | float) else message


def _locate(node: yaml.Node, loc: tuple[int | str, ...]) -> tuple[int, str]:
    """(line, dotted path) of what pydantic names: parts that the document does not have, such as the tag of a union or
    a missing key, leave the line at what encloses them."""
    line = node.start_mark.line + 1
    path: list[str] = []
    for position, part in enumerate(loc):
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == str(part)), None)
            if found is not None:
                line, node = found[0].start_mark.line + 1, found[1]
                path.append(str(part))
            elif position == len(loc) - 1:
                path.append(str(part))
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
            path.append(str(part))
    return line, ".".join(path)


def _refuse_duplicates(node: yaml.Node, file: str) -> None:
    """YAML loaders keep the last of two equal keys, silently."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                raise ManifestError(f"key {key.value!r} is given twice", file=file, line=key.start_mark.line + 1)
            seen.add(key.value)
            _refuse_duplicates(value, file)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_duplicates(item, file)
