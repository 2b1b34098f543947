"""Request templates: JSON trees whose strings may hold ``${expression}``, each a JMESPath over a scope of values. Pure.

A string that is one expression and nothing else keeps the value's type; inside longer text it is written as text.
An entry of a mapping or list whose expression gives null is left out, so that an optional parameter needs no condition.
``$${`` stands for a literal ``${``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias
from urllib.parse import quote

import jmespath
from jmespath.exceptions import JMESPathError

from agents_sdk.core import ids
from backplane.manifests.template_functions import OPTIONS

Scope: TypeAlias = Mapping[str, Any]
Rendered: TypeAlias = Callable[[Scope], Any]

ABSENT: Final = object()
"""An expression that gives null renders to this; containers leave it out."""


class TemplateError(ValueError):
    """A template that cannot be read; the text quotes it."""


def expression(text: str) -> Callable[[Any], Any]:
    """The JMESPath as a function of the value it searches. Raises TemplateError."""
    try:
        compiled = jmespath.compile(text)
    except (JMESPathError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise TemplateError(
            f"{text!r} is no JMESPath: {reason}; see https://jmespath.org/specification.html"
        ) from error
    return lambda value: compiled.search(value, options=OPTIONS)


def required(text: str) -> str:
    """The text, which is a JMESPath: the check of a field. Raises TemplateError."""
    expression(text)
    return text


def readable(text: str) -> str:
    """The text, which is a JMESPath or empty: the check of a field. Raises TemplateError."""
    return required(text) if text else text


def template(tree: Any) -> Rendered:
    """The tree as a function of a scope. Raises TemplateError when an expression in it cannot be read."""
    if isinstance(tree, Mapping):
        entries = {str(key): template(value) for key, value in tree.items()}
        return lambda scope: {key: value for key, entry in entries.items() if (value := entry(scope)) is not ABSENT}
    if isinstance(tree, list):
        items = [template(item) for item in tree]
        return lambda scope: [value for item in items if (value := item(scope)) is not ABSENT]
    if isinstance(tree, str):
        return _string(tree)
    return lambda scope: tree


def url_path(text: str) -> Callable[[Scope], str]:
    """The text as a function of a scope, every value percent-encoded: none adds a path segment or query."""
    parts = _parts(text)
    return lambda scope: "".join(
        part if isinstance(part, str) else quote(_text(part(scope)), safe="") for part in parts
    )


def _string(text: str) -> Rendered:
    parts = _parts(text)
    if len(parts) == 1 and not isinstance(parts[0], str):
        whole = parts[0]
        return lambda scope: ABSENT if (value := whole(scope)) is None else value
    if all(isinstance(part, str) for part in parts):
        literal = "".join(part for part in parts if isinstance(part, str))
        return lambda scope: literal
    return lambda scope: "".join(part if isinstance(part, str) else _text(part(scope)) for part in parts)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else ids.canonical(value)


def _parts(text: str) -> list[str | Callable[[Any], Any]]:
    """The text cut into literals and expressions."""
    parts: list[str | Callable[[Any], Any]] = []
    literal = ""
    at = 0
    while at < len(text):
        if text.startswith("$${", at):
            literal, at = literal + "${", at + 3
        elif text.startswith("${", at):
            end = _closing_brace(text, at + 2)
            if literal:
                parts.append(literal)
                literal = ""
            parts.append(expression(text[at + 2 : end].strip()))
            at = end + 1
        else:
            literal, at = literal + text[at], at + 1
    if literal or not parts:
        parts.append(literal)
    return parts


def _closing_brace(text: str, start: int) -> int:
    """Where the expression that begins at ``start`` ends; braces in it are counted, those in quotes are not."""
    depth = 1
    quoted = ""
    at = start
    while at < len(text):
        letter = text[at]
        if letter == "\\":
            at += 1
        elif quoted:
            quoted = "" if letter == quoted else quoted
        elif letter in "'\"`":
            quoted = letter
        elif letter in "{}":
            depth += 1 if letter == "{" else -1
            if depth == 0:
                return at
        at += 1
    raise TemplateError(f"{text!r} has a '${{' without its '}}'; write '$${{' for the two characters themselves")
