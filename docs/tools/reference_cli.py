"""Reference pages of the command line, the settings and the metrics, from their own tables."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from typing import Any, Final

from agents_sdk import settings_model
from backplane.cli.app import GROUPS, load
from backplane.metrics import catalogue
from docs.tools.markdown import cell, code, prose, table


def _names(parameter: Any) -> str:
    value = parameter.metavar or parameter.name.upper()
    if parameter.param_type_name == "argument":
        return code(value)
    names = ", ".join([*parameter.opts, *parameter.secondary_opts])
    takes = "" if parameter.is_flag else f" {value}"
    return code(names + takes)


def _default(parameter: Any) -> str:
    value = parameter.default
    if callable(value) or value in (None, False, ()) or (isinstance(value, list) and not value):
        return "–"
    return code(value)


def _parameters(command: Any) -> str:
    rows = [
        (_names(each), _default(each), cell(prose(getattr(each, "help", None) or "")))
        for each in command.params
        if each.name != "help" and not getattr(each, "hidden", False)
    ]
    return table(("argument or option", "default", "meaning"), rows) if rows else ""


def _commands(name: str, command: Any, depth: int) -> Iterator[str]:
    if getattr(command, "hidden", False):
        return
    yield f"{'#' * depth} `backplane {name}`\n\n{prose(inspect.cleandoc(command.help or ''))}"
    if hasattr(command, "commands"):
        for sub, each in command.commands.items():
            yield from _commands(f"{name} {sub}", each, depth + 1)
    elif rows := _parameters(command):
        yield rows


def cli() -> str:
    """Every command with its arguments and options, grouped as ``backplane --help`` groups them."""
    parts = ["# Command line", "Data goes to stdout, messages to stderr. `--json` prints one document."]
    for title, group in GROUPS.items():
        parts.append(f"## {title}")
        for name in group:
            parts += _commands(name, load(name), 3)
    return "\n\n".join(parts)


def _documented(owner: type) -> dict[str, str]:
    """Field → the text that follows it in the source of its class."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
    assert isinstance(body, ast.ClassDef)
    found: dict[str, str] = {}
    for field, text in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
            found[field.target.id] = str(getattr(text.value, "value", ""))
    return found


SOURCES: Final = (
    "A setting comes from the environment, from `backplane.toml`, or from the platform in the data directory."
    " `backplane config explain` says where each value came from."
)


def settings() -> str:
    """Every setting: its section, its variable of the environment, its default and its meaning."""
    head = [
        "# Settings",
        SOURCES,
    ]
    return "\n\n".join([*head, *_section("", settings_model.Settings)])


def _section(prefix: str, model: type) -> Iterator[str]:
    """The table of a section, and those of the sections within it."""
    texts = _documented(model)
    rows, inner = [], []
    for key, field in getattr(model, "model_fields").items():  # noqa: B009 -- any model of pydantic has them
        name = f"{prefix}.{key}" if prefix else key
        if isinstance(field.annotation, type) and hasattr(field.annotation, "model_fields"):
            inner.append((name, field.annotation))
        else:
            variable = code(f"BACKPLANE_{name.replace('.', '__')}".upper())
            rows.append((code(key), variable, _shown(field), cell(prose(texts.get(key, "")))))
    yield f"## {code(prefix) if prefix else 'Top level'}\n\n{prose(inspect.cleandoc(model.__doc__ or ''))}"
    yield table(("key", "environment", "default", "meaning"), rows)
    for name, each in inner:
        yield from _section(name, each)


def _shown(field: Any) -> str:
    if field.is_required() or field.default_factory is not None:
        return "–"
    value = field.get_default()
    return code("" if value in (None, "", (), {}) or "Secret" in type(value).__name__ else value)


def metrics() -> str:
    """Every metric, with the processes that export it at ``/metrics``."""
    found = [each for each in vars(catalogue).values() if isinstance(each, catalogue.Metric)]
    rows = [
        (
            code(each.name),
            each.kind,
            ", ".join(each.processes),
            ", ".join(map(code, each.labels)) or "–",
            cell(each.help),
        )
        for each in found
    ]
    return f"# Metrics\n\n{table(('name', 'kind', 'processes', 'labels', 'meaning'), rows)}"
