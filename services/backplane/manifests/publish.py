"""Manifests into the registry: what would change, what may not, and the records that say so.

``plan`` is pure; who calls it reads the registry before and writes ``records`` after, as ``bring_up_to_date`` does.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
from pydantic import ValidationError

from agents_sdk.core import ids
from agents_sdk.core.catalogue import Catalogue, RegisteredManifest
from agents_sdk.core.registry import CapabilityManifest
from backplane.manifests.compatibility import broken
from backplane.manifests.model import Capability
from backplane.manifests.registry import BUILT_IN, RegisteredCapability, load_registry

if TYPE_CHECKING:
    from agents_sdk.settings import Settings
    from agents_sdk.wire.codec import Codec

Source = Literal["built-in", "settings", "applied"]
OWN: Final[tuple[Source, ...]] = ("built-in", "settings")
"""Those that a process brings along."""
Status = Literal["new", "changed", "unchanged", "kept", "refused"]
SECRET_NAMES: Final = re.compile(
    r"(authorization|cookie|api[-_]?key|access[-_]?key|secret|token|password|passwd)$", re.IGNORECASE
)
"""Headers, query parameters and settings by such names hold secrets."""
SECRET_FLAG: Final = re.compile(r"--?[\w-]*(api[-_]?key|secret|token|password)=.", re.IGNORECASE)
"""An argument of a program that is one."""
LEAK_HINT: Final = "name where it is instead: `auth`, or a reference to the environment, the keyring or a file"
CREDENTIALS_IN_URL: Final = re.compile(r"://[^/@\s]+@")


@dataclass(frozen=True, slots=True)
class Change:
    """The change of one manifest, made or planned."""

    contract: RegisteredCapability
    status: Status
    version: int = 0
    """The version it replaces; 0: none."""
    refused: tuple[str, ...] = field(default=())
    """Why it may not take its place, a line each."""
    after: int = 0
    """When what counts now was said, microseconds UTC: the new one has to be newer."""


def bring_up_to_date(settings: Settings, codec: Codec, release: str) -> list[str]:
    """Makes the registry have the manifests of this release and of ``capabilities.paths``, but for those that an
    operator has applied. Gives its changes, a line each. Raises ManifestError, Unreachable, TopicsNotApplied."""
    from agents_sdk.follower import read_catalogue
    from agents_sdk.registrar import Registrar

    own = list(load_registry(settings.capabilities.paths))
    catalogue = read_catalogue(settings, codec)
    lines: list[str] = []
    written: list[CapabilityManifest] = []
    for source in OWN:
        changes = plan(catalogue, [each for each in own if source_of(each) == source], source)
        written += records(changes, source, release)
        for each in changes:
            if each.status in ("new", "changed"):
                lines.append(f"manifest {each.status}: {each.contract.capability.name}")
            lines += [f"manifest refused: {each.contract.source}: {line}" for line in each.refused]
    Registrar(settings, codec).put(written)
    return lines


def plan(
    catalogue: Catalogue, contracts: Iterable[RegisteredCapability], source: Source, *, absent_only: bool = False
) -> list[Change]:
    """The changes that applying these manifests would make, in order of their names. One that an operator applied is
    ``kept`` where ``source`` is another; with ``absent_only`` every one that is there. A built-in manifest is never
    refused for what it breaks: it comes with the release that its callers run."""
    changes = []
    for contract in sorted(contracts, key=lambda each: each.capability.name):
        name = contract.capability.name
        held = catalogue.manifests.get(name)
        leaks = tuple(leaked(contract.capability))
        if leaks:
            changes.append(Change(contract, "refused", held.version if held else 0, leaks))
        else:
            change = _change(contract, held, source, absent_only)
            changes.append(replace(change, after=catalogue.said.get((CapabilityManifest, name), 0)))
    return changes


def _change(
    contract: RegisteredCapability, held: RegisteredManifest | None, source: Source, absent_only: bool
) -> Change:
    if held is None:
        return Change(contract, "new")
    same = held.record.manifest == text_of(contract.capability)
    if same and held.record.source in (source, "applied"):
        return Change(contract, "unchanged", held.version)
    if absent_only or (held.record.source == "applied" and source != "applied"):
        return Change(contract, "kept", held.version)
    refused: tuple[str, ...] = ()
    if source != "built-in" and not same:
        try:
            refused = tuple(map(str, broken(capability_of(held.record), contract.capability)))
        except Unreadable:
            refused = ()  # what nobody can read nobody relies on
    return Change(contract, "refused" if refused else "changed", held.version, refused)


def records(changes: Iterable[Change], source: Source, by: str) -> list[CapabilityManifest]:
    """The records to write for the changes that are any."""
    return [record_of(each.contract, source, by, each.after) for each in changes if each.status in ("new", "changed")]


def record_of(contract: RegisteredCapability, source: Source, by: str, after: int = 0) -> CapabilityManifest:
    """The record that makes a manifest count, as of now; ``after`` what was said before."""
    return CapabilityManifest(
        name=contract.capability.name,
        manifest=text_of(contract.capability),
        source=source,
        applied_by=by,
        applied_at=max(time.time_ns() // 1000, after + 1),
    )


def text_of(capability: Capability) -> str:
    """The manifest as the registry has it: canonical JSON, defaults left out, so that one content has one text."""
    return ids.canonical(capability.model_dump(mode="json", by_alias=True, exclude_defaults=True))


class Unreadable(Exception):
    """A manifest that this release cannot read: a newer one wrote it."""


def capability_of(record: CapabilityManifest) -> Capability:
    """The capability that a record describes. Raises Unreadable."""
    try:
        return Capability.model_validate(msgspec.json.decode(record.manifest))
    except (ValidationError, ValueError, msgspec.MsgspecError) as error:
        raise Unreadable(str(error)) from error


def contract_of(held: RegisteredManifest) -> RegisteredCapability:
    """As ``capability_of``, ready to be called."""
    return RegisteredCapability(capability_of(held.record), held.record.source, held.version)


def source_of(contract: RegisteredCapability) -> Source:
    """Whether a manifest that was read from a file is built in or from a folder of the settings."""
    return "built-in" if contract.source.startswith(str(BUILT_IN)) else "settings"


def leaked(capability: Capability) -> Iterator[str]:
    """Where a manifest seems to hold a secret: everybody who may read the registry would have it."""
    for provider in capability.providers:
        given = provider.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        for path in _leaks(given, f"providers.{provider.name}", suspicious=False):
            yield f"{path}: holds a secret; {LEAK_HINT}"


def _leaks(value: Any, path: str, *, suspicious: bool) -> Iterator[str]:
    """Paths of the texts that are secrets by the name they stand under, or by what they look like. A reference under
    such a name says where the secret is; only its ``value`` would be the secret itself."""
    if isinstance(value, dict):
        for name, part in value.items():
            named = bool(SECRET_NAMES.search(name)) or (suspicious and name == "value")
            yield from _leaks(part, f"{path}.{name}", suspicious=named)
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from _leaks(part, f"{path}.{number}", suspicious=False)
    elif isinstance(value, str):
        literal = suspicious and value and "${" not in value
        if literal or CREDENTIALS_IN_URL.search(value) or SECRET_FLAG.match(value):
            yield path
