"""``roles.yaml``: roles, and which agents and clients have them. Pure but for reading the file.

Roles add up: who has two may do what either allows, and its budget is the larger one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from agents_sdk.core.commands import GrantBody
from agents_sdk.core.ledger.rules import RIGHTS
from agents_sdk.core.money import NO_LIMIT, parse
from agents_sdk.errors import BackplaneError

Globs = list[str]


class RolesUnusable(BackplaneError):
    """A file of roles cannot be read or used; the message names the line or the field."""

    code: ClassVar[str] = "usage"
    hint = "see `backplane roles --help` for the form of the file"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Runs(_Section):
    """Workflows, globs, whose runs the role may start, take part in and control (end, cancel, redrive)."""

    start: Globs = Field(default_factory=list)
    take_part: Globs = Field(default_factory=list)
    control: Globs = Field(default_factory=list)


class Role(_Section):
    """What a role allows; what it does not name it does not allow."""

    hears: Globs = Field(default_factory=list)
    reads: Globs = Field(default_factory=list)
    writes: Globs = Field(default_factory=list)
    capabilities: Globs = Field(default_factory=list)
    publishes: Globs = Field(default_factory=list)
    runs: Runs = Runs()
    supervisors: Globs = Field(default_factory=list)
    contracts: Globs = Field(default_factory=list)
    budget: str | None = None
    """In one run, such as ``1.00 USD``; None: the role sets no limit."""

    @field_validator("budget")
    @classmethod
    def _amount(cls, value: str | None) -> str | None:
        if value is not None:
            parse(value)
        return value

    def lists(self) -> dict[str, Globs]:
        """Right of the ledger → globs."""
        return {
            "subscriptions": self.hears,
            "workflows": self.runs.take_part,
            "reads": self.reads,
            "writes": self.writes,
            "capabilities": self.capabilities,
            "publishes": self.publishes,
            "starts": self.runs.start,
            "controls": self.runs.control,
            "supervisors": self.supervisors,
            "contracts": self.contracts,
        }


_ANY: Final = ["*"]
BUILT_IN: Final[Mapping[str, Role]] = {
    "operator": Role(
        hears=_ANY,
        reads=_ANY,
        writes=_ANY,
        capabilities=_ANY,
        publishes=_ANY,
        runs=Runs(start=_ANY, take_part=_ANY, control=_ANY),
        supervisors=_ANY,
        contracts=_ANY,
    ),
    "viewer": Role(reads=_ANY, runs=Runs(take_part=_ANY)),
}
"""Roles that need no file: everything, and to read everything."""


class RolesFile(_Section):
    """The whole file."""

    roles: dict[str, Role] = Field(default_factory=dict)
    agents: dict[str, list[str]] = Field(default_factory=dict)
    """Agent → its roles; it may do what of them it declares."""
    clients: dict[str, list[str]] = Field(default_factory=dict)
    """Client → its roles; it declares nothing."""

    @model_validator(mode="after")
    def _known(self) -> RolesFile:
        for name, roles in (*self.agents.items(), *self.clients.items()):
            for role in roles:
                if role not in self.roles and role not in BUILT_IN:
                    known = ", ".join(sorted({*self.roles, *BUILT_IN}))
                    raise ValueError(f"{name} has the role {role!r}, which is not there; there are {known}")
        both = sorted(self.agents.keys() & self.clients.keys())
        if both:
            raise ValueError(f"{both[0]!r} is an agent and a client; give it one place")
        return self

    def granted(self, name: str, roles: Iterable[str], *, client: bool) -> GrantBody:
        """What the roles together grant to a name. Raises RolesUnusable for a role that is not there."""
        chosen = []
        for role in roles:
            found = self.roles.get(role) or BUILT_IN.get(role)
            if found is None:
                known = ", ".join(sorted({*self.roles, *BUILT_IN}))
                raise RolesUnusable(f"no role {role!r}", hint=f"there are {known}; name a file with --file")
            chosen.append((role, found))
        lists: dict[str, Any] = {
            right: _joined(role.lists()[right] for _, role in chosen) for right in (*RIGHTS, CONTRACTS)
        }
        budgets = [parse(role.budget) for _, role in chosen if role.budget is not None]
        return GrantBody(
            name=name,
            roles=[role for role, _ in chosen],
            budget_nano_usd=max(budgets, default=NO_LIMIT),
            client=client,
            **lists,
        )

    def grants(self) -> dict[str, GrantBody]:
        """Name → what the file grants to it."""
        return {
            **{name: self.granted(name, roles, client=False) for name, roles in self.agents.items()},
            **{name: self.granted(name, roles, client=True) for name, roles in self.clients.items()},
        }


CONTRACTS: Final = "contracts"


def _joined(lists: Iterable[Globs]) -> Globs:
    return list(dict.fromkeys(glob for globs in lists for glob in globs))


def load(path: Path) -> RolesFile:
    """Reads the file. Raises RolesUnusable."""
    import yaml

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RolesUnusable(f"roles {str(path)!r} cannot be read: {error}") from error
    return parsed(found, str(path))


def parsed(found: Any, where: str) -> RolesFile:
    """What YAML said, as roles. Raises RolesUnusable, which names the field."""
    try:
        return RolesFile.model_validate({} if found is None else found)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise RolesUnusable(f"roles {where!r}: {place + ': ' if place else ''}{first['msg']}") from error
