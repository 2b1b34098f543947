"""Why Kafka does not answer: it may ask for a login, or refuse the one it is given. Blocking; a shell around sockets.

librdkafka says only that the transport failed, and tries again. So Kafka is asked here once more, after a failure.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final

from agents_sdk.core.identity import reserved
from agents_sdk.errors import BackplaneError

if TYPE_CHECKING:
    from agents_sdk.settings import Settings

CONNECT_S: Final = 1.0
ASK_S: Final = 3.0
SASL_HANDSHAKE: Final = 17
ASKS: Final = (0, 33)
"""The answer of a listener with logins to a handshake: it is taken, or the mechanism is another one. One without says
that the request is out of place."""


class NotLetIn(BackplaneError):
    """Kafka asks for a login, and has none or not the right one from this process; ``fields["user"]`` names it."""

    code: ClassVar[str] = "auth"


def refusal(settings: Settings) -> NotLetIn | None:
    """The reason, where it is the login. Takes up to four seconds where Kafka is there, and none where it is not."""
    kafka = settings.kafka
    there = [place for place in _places(kafka) if _connects(place)]
    if not there:
        return None
    user = kafka.get("sasl.username", "")
    if kafka.get("security.protocol", "plaintext").lower() == "plaintext":
        return _not_named(kafka) if any(map(_asks, there)) else None
    said = _tried(kafka)
    if said is None:
        return None
    where = kafka["bootstrap.servers"]
    return NotLetIn(f"Kafka at {where!r} does not let {user!r} in: {said}", hint=_next_step(user), user=user)


def _not_named(kafka: Mapping[str, str]) -> NotLetIn:
    hint = (
        "for a local platform run this as the user who started it, with its folder in BACKPLANE_DATA_DIR; with a key "
        "in identity.key_file set kafka.security.protocol to sasl_plaintext; for another Kafka set "
        "kafka.security.protocol, sasl.mechanism, sasl.username and sasl.password"
    )
    return NotLetIn(f"Kafka at {kafka['bootstrap.servers']!r} asks for a login, and none is given", hint=hint, user="")


def _next_step(user: str) -> str:
    if reserved(user):
        return "the master key in identity.master_file has to be that of this platform, or set kafka.sasl.password"
    return (
        f"where the platform runs, `backplane agents issue {user} --out FILE` makes the login of this name and writes "
        "its key; elsewhere look at kafka.sasl.username, sasl.password and sasl.mechanism"
    )


def _places(kafka: Mapping[str, str]) -> list[tuple[str, int]]:
    found = []
    for name in kafka.get("bootstrap.servers", "").split(","):
        host, _, port = name.strip().rpartition("://")[2].rpartition(":")
        if host and port.isdigit():
            found.append((host.strip("[]"), int(port)))
    return found


def _connects(place: tuple[str, int]) -> bool:
    try:
        socket.create_connection(place, CONNECT_S).close()
    except OSError:
        return False
    return True


def _asks(place: tuple[str, int]) -> bool:
    """Whether a listener without TLS wants a login: it takes the first request of one."""
    client, mechanism = b"backplane", b"PLAIN"
    head = struct.pack(">hhih", SASL_HANDSHAKE, 1, 1, len(client)) + client
    request = head + struct.pack(">h", len(mechanism)) + mechanism
    with contextlib.suppress(OSError, struct.error), socket.create_connection(place, CONNECT_S) as door:
        door.settimeout(CONNECT_S)
        door.sendall(struct.pack(">i", len(request)) + request)
        answer = door.recv(10, socket.MSG_WAITALL)
        return struct.unpack(">iih", answer)[2] in ASKS
    return False


def _tried(kafka: Mapping[str, str]) -> str | None:
    """Kafka's verdict on this login; None: it says nothing against it."""
    from confluent_kafka import KafkaError, KafkaException
    from confluent_kafka.admin import AdminClient

    refused: list[str] = []

    def heard(error: Any) -> None:
        if error.code() == KafkaError._AUTHENTICATION:
            refused.append(error.str())

    admin = AdminClient({**kafka, "log_level": "0", "error_cb": heard})  # type: ignore[dict-item]  # a callback
    with contextlib.suppress(KafkaException):
        admin.list_topics(timeout=ASK_S)
    admin.poll(0)
    return refused[0].rpartition(": ")[2].partition(" (after ")[0] if refused else None
