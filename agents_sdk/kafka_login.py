"""The Kafka user of this process, where the platform's own Kafka asks: a user, and a password that derives from a key.

The local platform's Kafka lets nobody in without a login. Each part of the platform is a user, and so is each agent or
client that was issued a key. The rights of a user are in ``backplane.topics.acls``. No password is stored in settings:
it derives from the key of the user's name, and who can read the master key can derive all.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from agents_sdk.core.identity import BROKER, EXECUTOR, LEDGER, OPERATOR, SINK, first_generation, reserved

if TYPE_CHECKING:
    from agents_sdk.keys import Key

USERS: Final = (BROKER, OPERATOR, LEDGER, EXECUTOR, SINK)
"""The users of the platform's own parts."""
SUPER_USERS: Final = (BROKER, OPERATOR)
"""Those that may do everything."""
MECHANISMS: Final = ("SCRAM-SHA-256", "SCRAM-SHA-512")
"""Of agents and clients, by turns of their key's generation: while a key is rotated, Kafka knows both passwords."""
PROTOCOL: Final = "sasl_plaintext"
PASSWORD: Final = "sasl.password"  # noqa: S105  # the name of a property


def named(user: str) -> dict[str, str]:
    """librdkafka's properties of one of the platform's users, without the password, which ``completed`` adds."""
    return {"security.protocol": PROTOCOL, "sasl.mechanism": "PLAIN", "sasl.username": user}


def password(master: bytes, user: str) -> str:
    """The password of one of the platform's own users."""
    from agents_sdk.wire.signature import derive

    return _of_secret(derive(master, user, first_generation(user)))


def mechanism(key: Key) -> str:
    """The mechanism that the holder of a key logs in by."""
    return "PLAIN" if reserved(key.name) else MECHANISMS[key.generation % 2]


def key_login(key: Key) -> dict[str, str]:
    """librdkafka's properties that the holder of a key has by it."""
    return {"sasl.mechanism": mechanism(key), "sasl.username": key.name, PASSWORD: _of_secret(key.secret)}


def completed(kafka: Mapping[str, str], identity: Mapping[str, Any]) -> dict[str, str]:
    """The properties with the login that these settings mean and do not spell out. It is that of ``key_file``, or that
    of a user of the platform whose password derives from the master key. Where neither can be read, without a login:
    Kafka then says that it asks for one. Raises KeyUnusable."""
    asked = str(kafka.get("security.protocol", "")).lower().startswith("sasl")
    user = kafka.get("sasl.username", "")
    unsaid = not any(name.startswith("sasl.") for name in kafka) or user == OPERATOR
    if not asked or PASSWORD in kafka or not (unsaid or user in USERS):
        return dict(kafka)
    from agents_sdk.keys import read, read_master

    if unsaid and identity.get("key_file"):
        return {**kafka, **key_login(read(Path(identity["key_file"])))}
    master = read_master(Path(identity["master_file"])) if identity.get("master_file") else None
    if not user:
        return dict(kafka)
    if master is None:
        return {name: value for name, value in kafka.items() if not name.startswith(("sasl.", "security."))}
    return {**kafka, PASSWORD: password(master, user)}


def _of_secret(secret: bytes) -> str:
    from agents_sdk.wire.proof import subkey

    return subkey(secret, "kafka").hex()
