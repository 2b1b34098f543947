"""Texts and secrets that a manifest names and does not hold."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import model_validator

from services.capabilities.model.part import Part


class _LookedUp(Part):
    env: str = ""
    """Name of an environment variable; an empty variable counts as absent."""
    file: str = ""
    """Path of a file holding the text, relative to the data directory."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not any(self.model_dump().values()):
            raise ValueError(f"an empty reference; give one of {', '.join(type(self).model_fields)}")
        return self

    def resolve(self, environment: Mapping[str, str], data_dir: Path) -> str:
        """The text, or "" when it is nowhere."""
        if self.env and environment.get(self.env):
            return environment[self.env]
        if self.file:
            try:
                return (data_dir / self.file).read_text().strip()
            except OSError:
                return ""
        return ""

    def __str__(self) -> str:
        return " or ".join([f"${self.env}"] * bool(self.env) + [f"file {self.file}"] * bool(self.file))


class SecretReference(_LookedUp):
    """Where a secret is; a manifest never holds the secret itself."""


class Reference(_LookedUp):
    """A text that is looked up when it is needed: in the environment, else in a file, else the value given here."""

    value: str = ""

    def resolve(self, environment: Mapping[str, str], data_dir: Path) -> str:
        """The text, or "" when it is nowhere."""
        return super().resolve(environment, data_dir) or self.value


def environment() -> Mapping[str, str]:
    """The process's environment; the one place where this package reads it."""
    return os.environ
