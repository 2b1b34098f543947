"""Texts and secrets that a manifest names and does not hold."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

from pydantic import Field, model_validator

from backplane.manifests.model.keystore import password
from backplane.manifests.model.part import Part

OTHERS: Final = 0o077
"""Mode bits of a file that let anybody but its owner at it."""


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


class SecretReference(_LookedUp):
    """Where a secret is: in the environment, else in the keyring, else in a file that nobody but its owner may read.
    A manifest never holds the secret itself."""

    keyring: str = Field(default="", max_length=200)
    """Name under the service ``backplane`` of the system's keyring: ``keyring set backplane NAME``."""

    def resolve(self, environment: Mapping[str, str], data_dir: Path) -> str:
        """The secret, or "" when it is nowhere; ``lack`` says why. May wait for the system's keyring."""
        if self.env and environment.get(self.env):
            return environment[self.env]
        if self.keyring and (found := password(self.keyring)):
            return found
        if self.file and not _open_to_others(data_dir / self.file):
            return _content(data_dir / self.file)
        return ""

    def lack(self, environment: Mapping[str, str], data_dir: Path) -> str:
        """Why there is no secret, with the next step; "" when there is one."""
        if self.resolve(environment, data_dir):
            return ""
        mode = _open_to_others(data_dir / self.file) if self.file else 0
        if mode:
            path = data_dir / self.file
            return f"file {self.file}, which others may read (mode {mode:04o}): run `chmod 600 {path}`"
        return str(self)

    def __str__(self) -> str:
        places = [(self.env, "$"), (self.keyring, "keyring "), (self.file, "file ")]
        return " or ".join(f"{kind}{name}" for name, kind in places if name)


class Reference(_LookedUp):
    """A text that is looked up when it is needed: in the environment, else in a file, else the value given here."""

    value: str = ""

    def resolve(self, environment: Mapping[str, str], data_dir: Path) -> str:
        """The text, or "" when it is nowhere."""
        found = environment.get(self.env, "") if self.env else ""
        return found or (_content(data_dir / self.file) if self.file else "") or self.value

    def lack(self, environment: Mapping[str, str], data_dir: Path) -> str:
        """Where there should be a text and is none; "" when there is one."""
        return "" if self.resolve(environment, data_dir) else str(self)

    def __str__(self) -> str:
        return " or ".join([f"${self.env}"] * bool(self.env) + [f"file {self.file}"] * bool(self.file))


def environment() -> Mapping[str, str]:
    """The process's environment; the one place where this package reads it."""
    return os.environ


def _content(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _open_to_others(path: Path) -> int:
    """The file's mode when it lets others at it; 0 when it does not, or is not there."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return 0
    return mode if mode & OTHERS else 0
