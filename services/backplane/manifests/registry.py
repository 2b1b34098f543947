"""The capabilities of a process: manifests read from folders, schemas compiled once. Nothing is loaded at import."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jsonschema_rs
from rapidfuzz import process

from agents_sdk.core import ids
from agents_sdk.core.catalogue import Catalogue
from agents_sdk.core.registry import Switch
from agents_sdk.errors import BackplaneError
from backplane.manifests import manifest
from backplane.manifests.model import Capability

BUILT_IN: Final = Path(__file__).parents[1] / "builtin" / "manifests"
NEAREST: Final = 3
"""Names suggested for an unknown one."""
LIKENESS: Final = 55.0
"""Of 100; below it a suggestion confuses more than it helps."""


class UnknownCapability(BackplaneError):
    """No capability of this name; ``fields["nearest"]`` are the names most like it."""

    code = "unknown_capability"


@dataclass(frozen=True, slots=True)
class Misfit:
    """Where a value breaks a schema, and how."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class RegisteredCapability:
    """A capability with its two schemas compiled."""

    def __init__(self, capability: Capability, source: str, version: int = 0) -> None:
        """``source``: the file, or who applied it; ``version``: 0 for a manifest that is not registered."""
        self.capability: Final = capability
        self.source: Final = source
        self.version: Final = version
        self.fingerprint: Final = ids.sha256(capability.model_dump_json())
        """Of the whole manifest: equal manifests have equal ones, in whatever process."""
        self._params = jsonschema_rs.validator_for(capability.params)
        self._result = jsonschema_rs.validator_for(capability.result)
        self._defaults = {
            name: schema["default"]
            for name, schema in capability.params.get("properties", {}).items()
            if isinstance(schema, Mapping) and "default" in schema
        }

    def check_params(self, params: Any) -> Misfit | None:
        """The first place where the params break their schema."""
        return None if self._params.is_valid(params) else _first_misfit(self._params, params, "params")

    def check_result(self, result: Any) -> Misfit | None:
        """The first place where the result breaks its schema."""
        return None if self._result.is_valid(result) else _first_misfit(self._result, result, "result")

    def with_defaults(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The params with what the schema declares as default for those not given."""
        return {**self._defaults, **params}


class Registry:
    """Capabilities by name, and how they are switched."""

    def __init__(self, contracts: Iterable[RegisteredCapability], switches: Catalogue | None = None) -> None:
        self._switches = switches or Catalogue()
        self._contracts = {contract.capability.name: contract for contract in contracts}

    def __iter__(self) -> Iterator[RegisteredCapability]:
        return iter(sorted(self._contracts.values(), key=lambda contract: contract.capability.name))

    def __len__(self) -> int:
        return len(self._contracts)

    def put(self, contract: RegisteredCapability) -> None:
        """From here on this is the capability of its name."""
        self._contracts[contract.capability.name] = contract

    def drop(self, name: str) -> None:
        """From here on there is none of this name."""
        self._contracts.pop(name, None)

    def get(self, name: str) -> RegisteredCapability:
        """The capability of this name. Raises UnknownCapability."""
        try:
            return self._contracts[name]
        except KeyError:
            nearest = self.nearest(name)
            hint = "did you mean " + " or ".join(map(repr, nearest)) + "?" if nearest else ""
            hint = hint or "`backplane capabilities list` names those that there are"
            raise UnknownCapability(f"no capability is named {name!r}", hint=hint, nearest=nearest) from None

    def switch(self, name: str, provider: str = "") -> Switch:
        """How a capability, or one of its providers, is switched."""
        return self._switches.switch(name, provider)

    def nearest(self, name: str) -> list[str]:
        """The names most like this one, best first."""
        found = process.extract(name, sorted(self._contracts), limit=NEAREST, score_cutoff=LIKENESS)
        return [match for match, _, _ in found]


def load_registry(paths: Iterable[Path] = ()) -> Registry:
    """The built-in capabilities and those of the folders; a later folder's capability replaces one of the same name.
    Raises ManifestError for a manifest that cannot be used, for two of one name in a folder, a missing folder."""
    contracts: dict[str, RegisteredCapability] = {}
    for folder in (BUILT_IN, *paths):
        contracts.update(_load_folder(folder))
    return Registry(contracts.values())


def _load_folder(folder: Path) -> dict[str, RegisteredCapability]:
    contracts, problems = examine_folder(folder)
    if problems:
        raise problems[0]
    return contracts


def examine_folder(folder: Path) -> tuple[dict[str, RegisteredCapability], list[manifest.ManifestError]]:
    """The manifests of a folder, and all that is wrong with any of them."""
    if not folder.is_dir():
        hint = "mend capabilities.paths in the settings, or name another folder"
        return {}, [manifest.ManifestError("no such folder of manifests", file=str(folder), hint=hint)]
    contracts: dict[str, RegisteredCapability] = {}
    problems: list[manifest.ManifestError] = []
    for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]):
        capability, wrong = manifest.examine(path)
        problems += wrong
        if capability is None:
            continue
        earlier = contracts.get(capability.name)
        if earlier is not None:
            problem = f"capability {capability.name!r} is also in {Path(earlier.source).name}"
            problems.append(manifest.ManifestError(problem, file=str(path), path="name", hint="rename one of them"))
        contracts[capability.name] = RegisteredCapability(capability, str(path))
    return contracts, problems


def _first_misfit(validator: Any, value: Any, root: str) -> Misfit:
    error = next(iter(validator.iter_errors(value)))
    return Misfit(".".join([root, *map(str, error.instance_path)]), error.message[:500])
