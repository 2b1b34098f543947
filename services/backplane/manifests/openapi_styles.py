"""How OpenAPI says that a parameter is written (``style``, ``explode``, ``content``) → templates of a request. Pure.

A parameter that a template cannot write as declared is not written otherwise: the operation is left out, with the
reason.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from backplane.manifests.openapi_schema import resolve

DEFAULTS: Final = {"query": "form", "path": "simple", "header": "simple"}
DELIMITERS: Final = {"form": ",", "simple": ",", "spaceDelimited": " ", "pipeDelimited": "|"}
SCALARS: Final = frozenset({"string", "number", "integer", "boolean", "null"})


class Unsupported(Exception):
    """Why an operation cannot be a capability."""


def place(document: Mapping[str, Any], request: dict[str, Any], parameter: Mapping[str, Any], key: str) -> None:
    """Puts the parameter, the params' ``key``, where it belongs in the request. Raises Unsupported."""
    name, where = str(parameter["name"]), parameter["in"]
    style = str(parameter.get("style") or DEFAULTS[where])
    explode = parameter.get("explode", style == "form")
    value = f"params.{identifier(key)}"
    schema = resolve(document, parameter.get("schema") or {})
    if parameter.get("content"):
        written = {name: "${" + f"{value} && to_string({value})" + "}"} if where != "path" else _none(name, "content")
    else:
        written = _written(document, name, value, schema, style, explode, where)
    if where == "path":
        request["path"] = request["path"].replace("{" + name + "}", written[name])
    else:
        request.setdefault("query" if where == "query" else "headers", {}).update(written)


def _written(
    document: Mapping[str, Any], name: str, value: str, schema: Mapping[str, Any], style: str, explode: Any, where: str
) -> dict[str, str]:
    kind = _kind(schema)
    allowed = {"query": ("form", "spaceDelimited", "pipeDelimited", "deepObject")}.get(where, ("simple",))
    if style not in allowed:
        _none(name, f"style {style!r}")
    if kind == "object":
        return _object(document, name, value, schema, style, explode, where)
    if style == "deepObject":
        _none(name, "style 'deepObject' of what is no object")
    if kind == "array":
        items = _kind(resolve(document, schema.get("items") or {}))
        if items in ("object", "array"):
            _none(name, f"a list of {items}s")
        if not explode or where != "query":
            return {name: "${" + f"{value} && join('{DELIMITERS[style]}', {value}[].to_string(@))" + "}"}
    elif style in ("spaceDelimited", "pipeDelimited") and kind:
        _none(name, f"style {style!r} of what is no list")
    return {name: "${" + value + "}"}


def _object(
    document: Mapping[str, Any], name: str, value: str, schema: Mapping[str, Any], style: str, explode: Any, where: str
) -> dict[str, str]:
    """One entry for each of its properties, which have to be declared and single values."""
    if where != "query" or style not in ("form", "deepObject") or not (explode or style == "deepObject"):
        _none(name, f"an object in style {style!r}" + ("" if explode else " without explode"))
    properties = schema.get("properties")
    if not isinstance(properties, Mapping) or not properties:
        _none(name, "an object that does not declare its properties")
    written = {}
    for inner, declared in (properties or {}).items():
        kind = _kind(resolve(document, declared))
        if kind == "object" or (kind == "array" and style == "deepObject"):
            _none(name, f"an object within an object ({inner!r})")
        key = f"{name}[{inner}]" if style == "deepObject" else str(inner)
        written[key] = "${" + f"{value}.{identifier(str(inner))}" + "}"
    return written


def _kind(schema: Mapping[str, Any]) -> str:
    """``object``, ``array``, a scalar's type, or "" where it is not said."""
    kinds = schema.get("type")
    several = [kinds] if isinstance(kinds, str) else [each for each in kinds or [] if each != "null"]
    found = next((str(each) for each in several if each not in SCALARS), None)
    if found is not None:
        return found
    if several:
        return str(several[0])
    return "object" if "properties" in schema else "array" if "items" in schema else ""


def _none(name: str, why: str) -> Any:
    raise Unsupported(f"its parameter {name!r} is written as no template can: {why}")


def identifier(name: str) -> str:
    """The name as JMESPath wants it: quoted where it is no plain word."""
    return name if re.fullmatch(r"[A-Za-z_]\w*", name) else '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
