"""Reference page of the SDK, from its docstrings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any, Final

import agents_sdk
from agents_sdk import errors
from docs.tools.markdown import prose

AGENTS: Final = ("Agent", "Context", "Event", "Retry", "RecoveryConfig", "CallResult", "Child", "Entry")
CLIENTS: Final = ("Backplane", "AsyncBackplane", "Run", "AsyncRun", "RunResult", "AgentsRunner")
CONTRACTS: Final = ("StateContract", "MessageContract")
GROUPS: Final = {"Agents": AGENTS, "Clients": CLIENTS, "Contracts": CONTRACTS}


def _signature(name: str, item: Any) -> str:
    try:
        shown = str(inspect.signature(item))
    except (TypeError, ValueError):
        shown = "(…)"
    shown = re.sub(r"<factory>|<object object at \w+>", "…", shown.replace("~", ""))
    shown = re.sub(r"(: |-> )'([^']*)'", r"\1\2", shown)
    return f"```text\n{name}{shown}\n```"


def _members(owner: type) -> Iterator[str]:
    for name, item in inspect.getmembers_static(owner):
        if name.startswith("_"):
            continue
        plain: Any = item.fget if isinstance(item, property) else getattr(item, "__func__", item)
        found: Any = inspect.unwrap(plain) if callable(plain) else plain
        if not str(getattr(found, "__module__", "")).startswith("agents_sdk"):
            continue  # of pydantic
        document = inspect.getdoc(found)
        if not document or not (callable(found) or isinstance(item, property)):
            continue
        head = f"#### `{owner.__name__}.{name}`"
        if isinstance(item, property):
            yield f"{head}\n\nProperty. {prose(document)}"
        else:
            yield f"{head}\n\n{_signature(name, found)}\n\n{prose(document)}"


def _described(name: str) -> Iterator[str]:
    item = getattr(agents_sdk, name)
    yield f"### `{name}`"
    if isinstance(item, type):
        made = inspect.getdoc(vars(item)["__init__"]) if "__init__" in vars(item) else ""
        yield prose(inspect.getdoc(item) or "")
        if made:
            yield f"{_signature(name, item)}\n\n{prose(made)}"
        yield from _members(item)
    else:
        yield f"{_signature(name, item)}\n\n{prose(inspect.getdoc(item) or '')}"


def sdk() -> str:
    """Every public name of ``agents_sdk``."""
    parts = ["# SDK", "Everything that `agents_sdk` exports. `ctx` of a handler is a `Context`."]
    placed: set[str] = set()
    for title, names in GROUPS.items():
        parts.append(f"## {title}")
        for name in names:
            parts += _described(name)
        placed |= set(names)
    failures = [name for name in agents_sdk.__all__ if name not in placed and hasattr(errors, name)]
    parts.append("## Settings")
    for name in agents_sdk.__all__:
        if name not in placed and name not in failures:
            parts += _described(name)
    parts.append("## Errors")
    tree = re.search(r"\n\n((?: {4}.*\n)+)", errors.__doc__ or "")
    if tree:
        parts.append(f"```text\n{tree[1].rstrip()}\n```")
    for name in failures:
        parts.append(f"### `{name}`\n\n{prose(inspect.getdoc(getattr(errors, name)) or '')}")
    return "\n\n".join(parts)
