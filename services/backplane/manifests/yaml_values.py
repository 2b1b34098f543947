"""YAML as a person means it → plain values, or where it is none of them. Pure.

PyYAML reads ``no`` as false, ``12:30:00`` as 45,000 and ``2026-02-30`` as an error without a place. Here texts,
numbers, ``true``, ``false`` and null are what they are. All else that looks like more is text; keys are text as
written. A thing that cannot be a value is a problem with its place: other tags, keys that are lists, NaN and infinity.
So are aliases that lead back to themselves or multiply, and nesting without end.
"""

from __future__ import annotations

import re
from typing import Any, Final

import yaml

FAST: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Twelve manifests took 0.15 s of an executor's start in pure Python."""
MAX_DEPTH: Final = 100
"""Levels of nesting: the libraries that read YAML call themselves for each."""
MAX_VALUES: Final = 100_000
"""Values of one document, those that aliases repeat counted each time."""
_CORE: Final = "tag:yaml.org,2002:"
_MERGE: Final = _CORE + "merge"
_DECIMAL: Final = re.compile(r"[-+]?(0|[1-9][0-9_]*)\Z")
_BASED: Final = re.compile(r"[-+]?0(x[0-9a-fA-F_]+|b[01_]+)\Z")
_LARGEST: Final = 2**63


class Problem(Exception):
    """A thing that cannot be a value, and its place: ``mark`` has its line and column, from 0."""

    def __init__(self, message: str, mark: Any) -> None:
        super().__init__(message)
        self.message = message
        self.mark = mark


def compose(text: str) -> yaml.Node | None:
    """The document's node; None for an empty one. Raises yaml.YAMLError, with the words of the loader that is not in C:
    they say more; and Problem."""
    try:
        _refuse_depth(text)
        return yaml.compose(text, Loader=FAST)
    except yaml.YAMLError:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except RecursionError:
        raise Problem(f"it is nested more than {MAX_DEPTH} levels deep", yaml.Mark("", 0, 0, 0, None, 0)) from None


def value_of(node: yaml.Node, most: int = MAX_VALUES) -> Any:
    """The node as a plain value. Raises Problem."""
    return _ValueReader(most).value(node)


def _refuse_depth(text: str) -> None:
    """By events, which need no recursion."""
    depth = 0
    for event in yaml.parse(text, Loader=FAST):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise Problem(f"it is nested more than {MAX_DEPTH} levels deep", event.start_mark)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


class _ValueReader:
    def __init__(self, most: int) -> None:
        self._left = self._most = most
        self._above: list[int] = []
        """Nodes that are being read: one that is met again within itself has no end."""

    def value(self, node: yaml.Node) -> Any:
        self._left -= 1
        if self._left < 0:
            raise Problem(
                f"it has more than {self._most:,} values, those that aliases repeat among them", node.start_mark
            )
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node)
        if id(node) in self._above:
            raise Problem("an alias stands for something that it is a part of", node.start_mark)
        self._above.append(id(node))
        try:
            return self._mapping(node) if isinstance(node, yaml.MappingNode) else self._sequence(node)
        finally:
            self._above.pop()

    def _sequence(self, node: yaml.Node) -> list[Any]:
        if node.tag != _CORE + "seq":
            raise _foreign(node)
        return [self.value(each) for each in node.value]

    def _mapping(self, node: yaml.MappingNode) -> dict[str, Any]:
        if node.tag != _CORE + "map":
            raise _foreign(node)
        merged: dict[str, Any] = {}
        own: dict[str, Any] = {}
        for key, inner in node.value:
            if not isinstance(key, yaml.ScalarNode):
                kind = "mapping" if isinstance(key, yaml.MappingNode) else "list"
                raise Problem(f"a key is a text, not a {kind}", key.start_mark)
            if key.tag == _MERGE:
                self._merge(inner, merged)
            elif key.value in own:
                raise Problem(f"key {key.value!r} is given twice", key.start_mark)
            else:
                if not key.tag.startswith(_CORE):
                    raise _foreign(key)
                own[key.value] = self.value(inner)
        return {**merged, **own}

    def _merge(self, node: yaml.Node, merged: dict[str, Any]) -> None:
        several = node.value if isinstance(node, yaml.SequenceNode) else [node]
        for each in reversed(several):
            if not isinstance(each, yaml.MappingNode):
                raise Problem("only mappings can be merged", each.start_mark)
            merged |= self.value(each)


def _scalar(node: yaml.ScalarNode) -> Any:
    kind, text = node.tag.removeprefix(_CORE), node.value
    if kind == "null":
        return None
    if kind == "bool":
        return {"true": True, "false": False}.get(text.lower(), text)
    if kind == "int":
        return _integer(node, text)
    if kind == "float":
        return _float(node, text)
    if kind in ("str", "timestamp", "value", "merge"):
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            raise Problem(f"{text!r:.80} has half of a character", node.start_mark)
        return text
    raise _foreign(node)


def _integer(node: yaml.ScalarNode, text: str) -> Any:
    """Decimal, hexadecimal or binary; what has another meaning in each version of YAML is text: 010, 12:30:00."""
    if not (_DECIMAL.match(text) or _BASED.match(text)):
        if re.match(r"[-+]?[0-9][0-9_:]*\Z", text):
            return text
        raise Problem(f"{text!r:.80} is no integer", node.start_mark)
    digits = text.replace("_", "")
    number = int(digits, 0) if len(digits) <= 70 else _LARGEST
    if not -_LARGEST <= number < _LARGEST:
        raise Problem(f"{text!r:.80} is beyond 64 bits; quote it where it is a text", node.start_mark)
    return number


def _float(node: yaml.ScalarNode, text: str) -> Any:
    if ":" in text:
        return text
    if text.lower().lstrip("+-") in (".inf", ".nan"):
        raise Problem(f"{text!r} is no number that JSON has; quote it where it is a text", node.start_mark)
    try:
        number = float(text.replace("_", ""))
    except ValueError:
        raise Problem(f"{text!r:.80} is no number", node.start_mark) from None
    if number in (float("inf"), float("-inf")):
        raise Problem(f"{text!r:.80} is beyond what a number can be", node.start_mark)
    return number


def _foreign(node: yaml.Node) -> Problem:
    named = node.tag.replace(_CORE, "!!")
    return Problem(f"the tag {named!r:.80} has no meaning here; remove it", node.start_mark)
