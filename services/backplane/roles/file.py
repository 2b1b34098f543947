"""``roles.yaml``: roles, and which agents and clients have them. Pure but for reading the file.

Roles add up: who has two may do what either allows, and its budget is the larger one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar, Final

from pydantic import BaseModel, ConfigDict, Field, field_validator

from agents_sdk.core.commands import GrantBody
from agents_sdk.core.identity import reserved
from agents_sdk.core.ledger.identity import NAME_SHOWN as NAME_LIMIT
from agents_sdk.core.ledger.rules import RIGHTS
from agents_sdk.core.money import NO_LIMIT, parse
from agents_sdk.errors import BackplaneError
from backplane.manifests.yaml_models import Flaw, composed, flaw_at, validated

Globs = list[str]


class RolesUnusable(BackplaneError):
    """A file of roles cannot be read or used; the message names the line or the field."""

    code: ClassVar[str] = "usage"
    hint = "mend it there; `backplane roles --help` shows the form, `backplane roles diff` what would change"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Runs(_Section):
    """Workflows, globs, whose runs the role may start, take part in and control (end, cancel, redrive)."""

    start: Globs = Field(default_factory=list)
    take_part: Globs = Field(default_factory=list)
    control: Globs = Field(default_factory=list)


class Role(_Section):
    """Rights of a role; it allows nothing else."""

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

    def granted(self, name: str, roles: Iterable[str], *, client: bool) -> GrantBody:
        """The rights that the roles together grant to a name. Raises RolesUnusable for a role that is not there."""
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
    """Reads the file. Raises RolesUnusable, which names file, line, path and value."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise RolesUnusable(f"there is no file of roles {str(path)!r}", hint=_WRITE_ONE) from error
    except (OSError, UnicodeDecodeError) as error:
        raise RolesUnusable(f"roles {str(path)!r} cannot be read: {error}") from error
    return parsed(text, str(path))


_WRITE_ONE: Final = "name another one, or write it: `backplane roles --help` shows its form"


def parsed(text: str, where: str) -> RolesFile:
    """The roles that a text says; ``where`` is for messages. Raises RolesUnusable, which names line, path and value."""
    node, flaws = composed(text)
    if node is None and not flaws:
        flaws = [Flaw("it is empty", hint="to withdraw all that roles grant, write 'roles: {}'")]
        raise _unusable(flaws, where)
    found, flaws = validated(text, RolesFile, Flaw("a file of roles is a mapping", hint="begin it with 'roles:'"))
    if found is not None and node is not None:
        flaws = [flaw_at(node, loc, problem) for loc, problem in _contradictions(found)]
    if flaws:
        raise _unusable(flaws, where)
    assert found is not None
    return found


def _unusable(flaws: list[Flaw], where: str) -> RolesUnusable:
    """The first problem as an error, with how many more there are."""
    first, more = flaws[0], len(flaws) - 1
    place = f"{where}:{first.line}:{first.column}: " + (f"{first.path}: " if first.path else "")
    said = f"{place}{first.problem}" + (f" (and {more} more)" if more else "")
    return RolesUnusable(
        said, hint=first.hint or RolesUnusable.hint, file=where, line=first.line, column=first.column, path=first.path
    )


def _contradictions(file: RolesFile) -> Iterator[tuple[tuple[int | str, ...], str]]:
    """A conflict between the parts of a file: its place and its kind."""
    known = sorted({*file.roles, *BUILT_IN})
    for name, role in file.roles.items():
        if name in BUILT_IN:
            yield ("roles", name), f"the role {name!r} is built in; give yours another name"
        for field, globs in (*role, *role.runs):
            for number, glob in enumerate(globs if isinstance(globs, list) else ()):
                if not glob:
                    place = ("runs", field) if field in Runs.model_fields else (field,)
                    yield ("roles", name, *place, number), "an entry is empty; leave it out"
    for part, names in (("agents", file.agents), ("clients", file.clients)):
        for name, roles in names.items():
            if not 0 < len(name) <= NAME_LIMIT or reserved(name):
                rule = f"a name has 1 to {NAME_LIMIT} characters and does not start with bp."
                yield (part, name), f"{rule}, not {name[:NAME_LIMIT]!r}"
            for number, given in enumerate(roles):
                if given not in known:
                    near = get_close_matches(given, known, n=1)
                    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
                    yield (part, name, number), f"there is no role {given!r}; {hint}"
            if part == "clients" and name in file.agents:
                yield (part, name), f"{name!r} is among the agents too; give it one place"
