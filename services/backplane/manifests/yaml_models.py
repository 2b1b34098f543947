"""YAML text → a pydantic model; what is wrong is said with line, column and path. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from backplane.manifests import yaml_values

M = TypeVar("M", bound=BaseModel)


class Flaw(NamedTuple):
    """One thing that is wrong with a document."""

    problem: str
    line: int = 1
    """From 1, as the column."""
    column: int = 1
    path: str = ""
    """Dotted; empty where it is about the whole document."""
    hint: str = ""


def validated(text: str, model: type[M], no_mapping: Flaw) -> tuple[M | None, list[Flaw]]:
    """The model that the text says, or all that is wrong with it; ``no_mapping`` where the document is none."""
    node, flaws = composed(text)
    if flaws:
        return None, flaws
    if not isinstance(node, yaml.MappingNode):
        return None, [no_mapping]
    try:
        return model.model_validate(yaml_values.value_of(node)), []
    except yaml_values.Problem as problem:
        return None, [Flaw(problem.message, *_place(problem.mark))]
    except ValidationError as invalid:
        return None, [_problem(each, node) for each in invalid.errors()]
    except RecursionError:
        return None, [Flaw("it is nested too deeply")]


def composed(text: str) -> tuple[yaml.Node | None, list[Flaw]]:
    """The document's node, None for an empty one; or why it is no YAML."""
    try:
        return yaml_values.compose(text), []
    except yaml_values.Problem as problem:
        return None, [Flaw(problem.message, *_place(problem.mark))]
    except yaml.MarkedYAMLError as error:
        line, column = _place(error.problem_mark) if error.problem_mark else (1, 1)
        return None, [Flaw(f"not YAML: {error.problem or error}", line, column)]
    except yaml.reader.ReaderError as error:
        line, column = _position(text, error.position)
        return None, [Flaw(f"not YAML: the character {error.character!a} is not allowed", line, column)]
    except yaml.YAMLError as error:
        return None, [Flaw(f"not YAML: {error}")]


def _position(text: str, index: Any) -> tuple[int, int]:
    before = text[: index if isinstance(index, int) else 0]
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def _place(mark: yaml.Mark) -> tuple[int, int]:
    return mark.line + 1, mark.column + 1


def _problem(error: Any, node: yaml.Node) -> Flaw:
    message = str(error["msg"]).removeprefix("Value error, ")
    given = error.get("input")
    if error["type"] == "extra_forbidden":
        message = "no such key; remove it or mend its spelling"
    elif error["type"] == "missing":
        message = "is missing"
    elif isinstance(given, str | int | float) and repr(given) not in message:
        message = f"{message}, not {given!r}"
    return flaw_at(node, error["loc"], message)


def flaw_at(node: yaml.Node, loc: tuple[int | str, ...], problem: str, hint: str = "") -> Flaw:
    """A problem of the value at a path, with its place in the document."""
    return Flaw(problem, *_locate(node, loc), hint)


def _locate(node: yaml.Node, loc: tuple[int | str, ...]) -> tuple[int, int, str]:
    """(line, column, dotted path) of the place that pydantic names. A part that the document does not have, such as the
    tag of a union or a missing key, has the place of its parent."""
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
