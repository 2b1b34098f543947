"""People and programs that use the ports: a name, a role, the workflows they may see, and how they prove who they are.

Lives here: decisions over values, and the file they come from. The file holds a hash of each token, never a token. A
platform without such a file lets everybody in who reaches a port on loopback, as ``admin``; with one, every port asks.

Roles are ordered. A ``viewer`` reads. An ``operator`` also changes what runs (redrive, pause, cancel) and approves what
agents ask for. An ``admin`` may do all that the ports offer. A viewer may be restricted to workflows: it sees their
runs and nothing else.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

import msgspec
import yaml

from agents_sdk.errors import BackplaneError

ROLES: Final = ("viewer", "operator", "admin")
"""From the least to the most."""
NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@+-]{0,199}")
WORKFLOW: Final = re.compile(r"[^\x00-\x1f,]{1,200}")
TOKEN_BYTES: Final = 24
SERVICE: Final = "backplane"
"""The platform's own parts and its command line, which read the service token from a file of their owner."""
FILE_MODE: Final = 0o600


class AccessFileUnusable(BackplaneError):
    """The file of principals cannot be read, or says what it may not say. Nobody is let in by it."""

    code: ClassVar[str] = "not_configured"


class Principal(msgspec.Struct, frozen=True):
    """The sender of a request."""

    name: str
    role: str
    workflows: tuple[str, ...] | None = None
    """The only ones whose runs it sees; None: all."""

    def may(self, role: str) -> bool:
        """Whether it has at least this role."""
        return ROLES.index(self.role) >= ROLES.index(role)

    @property
    def restricted(self) -> bool:
        """It sees the runs of some workflows only."""
        return self.workflows is not None


ANYBODY: Final = Principal("", "admin")
"""The principal of everybody who reaches a port on loopback of a platform that asks for nothing."""


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line of the file."""

    name: str
    role: str
    token_sha256: str
    workflows: tuple[str, ...] | None = None


class Directory(msgspec.Struct, frozen=True):
    """All principals with a token. Empty: nobody is asked."""

    entries: tuple[Entry, ...] = ()
    service_sha256: str = ""
    """Of the token that the platform's own parts show."""

    def of_token(self, token: str) -> Principal | None:
        """The owner of this token; None: nobody. Takes as long whether the token is nearly right or not."""
        given = digest(token)
        found = None
        if self.service_sha256 and hmac.compare_digest(given, self.service_sha256):
            found = Principal(SERVICE, "admin")
        for entry in self.entries:
            if hmac.compare_digest(given, entry.token_sha256):
                found = Principal(entry.name, entry.role, entry.workflows)
        return found


def digest(token: str) -> str:
    """The form in which the file holds a token. Tokens are 24 random bytes: a fast hash is enough."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def parse(text: str) -> tuple[Entry, ...]:
    """The entries of a file's text.

    Raises:
        AccessFileUnusable: not YAML, an unknown role or field, a name given twice, a token instead of its hash.
    """
    try:
        raw = yaml.safe_load(text) or {}
        entries = msgspec.convert(raw, dict[str, tuple[Entry, ...]]).get("principals", ())
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise AccessFileUnusable(f"the file of principals is not usable: {error}", hint=_HINT) from error
    seen: set[str] = set()
    for entry in entries:
        checked(entry)
        if entry.name in seen:
            raise AccessFileUnusable(f"principal {entry.name!r} is given twice", hint=_HINT, name=entry.name)
        seen.add(entry.name)
    return entries


def checked(entry: Entry) -> Entry:
    """The entry. Raises AccessFileUnusable where it says what it may not say."""
    if problem := _problem(entry):
        raise AccessFileUnusable(f"principal {entry.name!r}: {problem}", hint=_HINT, name=entry.name)
    return entry


_HINT: Final = "`backplane access list` shows it, `backplane access add NAME --role viewer` adds to it"


def _problem(entry: Entry) -> str:
    if not NAME.fullmatch(entry.name) or entry.name == SERVICE:
        return "a name has letters, digits and ._@+-, and is not 'backplane'"
    if entry.role not in ROLES:
        return f"no role {entry.role!r}; there are {', '.join(ROLES)}"
    if not re.fullmatch(r"[0-9a-f]{64}", entry.token_sha256):
        return "token_sha256 is the SHA-256 of the token in hexadecimal, never the token"
    return workflows_problem(entry.role, entry.workflows)


def workflows_problem(role: str, workflows: tuple[str, ...] | None) -> str:
    """Why a principal of this role cannot be restricted to these workflows; empty: it can."""
    if workflows is None:
        return ""
    if role != "viewer":
        return f"only a viewer is restricted to workflows, not an {role}"
    wrong = [name for name in workflows if not WORKFLOW.fullmatch(name)]
    return f"no workflow has the name {wrong[0]!r}" if wrong else ""


def token_of(headers: Mapping[str, str], query: Mapping[str, str]) -> str:
    """The token that a request shows: as bearer, as the password of HTTP's or ClickHouse's login; empty: none.

    Args:
        headers: by lower-case name.
        query: parameters of the address, where ClickHouse's clients may put user and password.
    """
    scheme, _, given = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return given.strip()
    return login_of(headers, query)[1]


def login_of(headers: Mapping[str, str], query: Mapping[str, str]) -> tuple[str, str]:
    """User and password that a request shows, by HTTP's login or in one of ClickHouse's ways; a malformed login is none
    of either. Arguments as of ``token_of``."""
    scheme, _, given = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        user = headers.get("x-clickhouse-user", "") or query.get("user", "default")
        return user, headers.get("x-clickhouse-key", "") or query.get("password", "")
    try:
        user, _, password = base64.b64decode(given, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return "", ""
    return user, password


def path_of(data_dir: Path) -> Path:
    """The file of principals of a platform."""
    return data_dir / "access" / "principals.yaml"


def service_path_of(data_dir: Path) -> Path:
    """The file with the token of the platform's own parts."""
    return data_dir / "access" / "service.token"


def load(data_dir: Path) -> Directory | None:
    """The principals of a platform; None where it has no file of them, and asks nobody.

    Raises:
        AccessFileUnusable: see ``parse``; also where others than its owner may read or write the file.
    """
    path = path_of(data_dir)
    try:
        mode, text = path.stat().st_mode, path.read_text()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise AccessFileUnusable(f"{str(path)!r} cannot be read: {error}", hint=_HINT) from error
    if mode & 0o077:
        raise AccessFileUnusable(f"{str(path)!r} may be read by others", hint=f"chmod 600 {path}")
    return Directory(parse(text), digest(service_token(data_dir)))


def service_token(data_dir: Path) -> str:
    """The token that the platform's own parts show to each other; empty where there is none or it is not ours to
    read."""
    try:
        return service_path_of(data_dir).read_text().strip()
    except (OSError, ValueError):
        return ""


def save(data_dir: Path, entries: Iterable[Entry]) -> None:
    """Replaces the file, and makes the service token where there is none yet. Only its owner can read either."""
    folder = path_of(data_dir).parent
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not service_token(data_dir):
        _write(service_path_of(data_dir), secrets.token_urlsafe(TOKEN_BYTES) + "\n")
    found = [{k: v for k, v in msgspec.to_builtins(entry).items() if v is not None} for entry in entries]
    plain: dict[str, Any] = {"principals": [{**one, **_listed(one)} for one in found]}
    _write(path_of(data_dir), yaml.safe_dump(plain, sort_keys=False))


def _listed(one: Mapping[str, Any]) -> dict[str, Any]:
    return {"workflows": list(one["workflows"])} if "workflows" in one else {}


def _write(path: Path, text: str) -> None:
    draft = path.with_suffix(f".{os.getpid()}.tmp")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, FILE_MODE)
    with os.fdopen(descriptor, "w") as opened:
        opened.write(text)
    draft.replace(path)


def new_token() -> str:
    """A token nobody can guess."""
    return secrets.token_urlsafe(TOKEN_BYTES)
