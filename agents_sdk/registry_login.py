"""The login of the schema registry of a local platform: a user, and a password that derives from a key.

The operator may register schemas. Everybody else reads them as one user, whose password is in each key that was issued.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from agents_sdk.core.identity import OPERATOR, first_generation

READER: Final = "bp.reader"
"""May read schemas, and change none."""
USERS: Final = (OPERATOR, READER)


def secret(master: bytes, user: str) -> bytes:
    """The bytes that the password of one of the users is made of."""
    from agents_sdk.wire.proof import subkey
    from agents_sdk.wire.signature import derive

    return subkey(derive(master, user, first_generation(user)), "registry")


def passwords(master: bytes) -> dict[str, str]:
    """User of the registry → its password."""
    return {user: secret(master, user).hex() for user in USERS}


def completed(registry: Mapping[str, Any], identity: Mapping[str, Any]) -> dict[str, Any]:
    """The section with the login that these settings mean and do not spell out. It is the operator's where the master
    key can be read, else that in ``key_file``. Without both there is no login, and the registry says that it asks for
    one. Raises KeyUnusable."""
    user = registry.get("username", "")
    if registry.get("password") or user not in USERS:
        return dict(registry)
    from agents_sdk.keys import read, read_master

    master = read_master(Path(identity["master_file"])) if identity.get("master_file") else None
    if master is not None:
        return {**registry, "password": passwords(master)[user]}
    key = read(Path(identity["key_file"])) if identity.get("key_file") else None
    if key is not None and key.registry:
        return {**registry, "username": READER, "password": key.registry.hex()}
    return {name: value for name, value in registry.items() if name != "username"}
