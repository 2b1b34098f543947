"""Changes by a file of roles, and whether a name may do something. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from agents_sdk.core.commands import GrantBody
from agents_sdk.core.ledger.rights import GRANTED, body_of
from agents_sdk.core.ledger.rules import allows, declared
from agents_sdk.core.ledger.state import AgentSpec, Grant
from backplane.roles.file import RolesFile

ACTIONS: Final[Mapping[str, str]] = {
    "read": "reads",
    "write": "writes",
    "call": "capabilities",
    "publish": "publishes",
    "hear": "subscriptions",
    "start": "starts",
    "take-part": "workflows",
    "control": "controls",
    "apply": "contracts",
}
"""A subject of questions → the right that it needs."""


class Change(msgspec.Struct, frozen=True):
    """One name whose rights change."""

    name: str
    body: GrantBody
    lines: list[str]
    """``+ reads findings`` or ``- reads secret``, and the budget."""


def changes(file: RolesFile, grants: Mapping[str, Grant]) -> list[Change]:
    """Commands that make the grants those of the file, by name. A name that had roles and has none in the file loses
    its rights. A name with single grants keeps them."""
    wanted = file.grants()
    wanted |= {name: GrantBody(name=name) for name, grant in grants.items() if grant.roles and name not in wanted}
    found = []
    for name, body in sorted(wanted.items()):
        known = grants.get(name)
        lines = difference(body_of(known) if known is not None else GrantBody(name=name), body)
        if lines or known is None:
            found.append(Change(name, body, lines))
    return [change for change in found if change.lines]


def difference(before: GrantBody, after: GrantBody) -> list[str]:
    """The rights that ``after`` adds and takes away, a line each."""
    lines = []
    for field in GRANTED:
        was, now = getattr(before, field), getattr(after, field)
        if isinstance(was, list):
            lines += [f"+ {field} {glob}" for glob in now if glob not in was]
            lines += [f"- {field} {glob}" for glob in was if glob not in now]
        elif was != now:
            lines.append(f"~ {field} {was} → {now}")
    return lines


class Answer(msgspec.Struct, frozen=True):
    """Whether a name may do something, and why."""

    allowed: bool
    why: str


def may(right: str, name: str, spec: AgentSpec | None, grant: Grant | GrantBody | None) -> Answer:
    """Whether a declaration and a grant allow the right about the name."""
    if grant is None:
        return Answer(False, "nothing is granted")
    if spec is None and not grant.client:
        return Answer(False, "it is not registered, and no client")
    if spec is not None:
        asked: Sequence[str] = declared(spec, right)
        if not allows(tuple(asked), name):
            return Answer(False, f"it declares {right} {list(asked)}")
    granted = tuple(getattr(grant, right))
    by = f" by {', '.join(grant.roles)}" if grant.roles else ""
    return Answer(allows(granted, name), f"granted are {right} {list(granted)}{by}")
