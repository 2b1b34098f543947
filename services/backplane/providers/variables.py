"""The environment of a program that a provider starts: what is safe of ours, and what its manifest names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from backplane.manifests.model import SAFE_VARIABLES, Reference, SecretReference
from backplane.providers.redaction import Redaction


def variables(
    declared: Mapping[str, Reference | SecretReference],
    environment: Mapping[str, str],
    data_dir: Path,
    redaction: Redaction,
) -> dict[str, str]:
    """The variables; secrets among them are learnt for redaction."""
    given = {name: environment[name] for name in SAFE_VARIABLES if name in environment}
    for name, reference in declared.items():
        given[name] = reference.resolve(environment, data_dir)
        if isinstance(reference, SecretReference):
            redaction.learn(given[name])
    return given
