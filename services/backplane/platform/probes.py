"""Is it up? Questions asked over loopback, each with its own short time limit; never an exception, only no."""

from __future__ import annotations

import asyncio
import json
import struct
from typing import Any, Final

from backplane.platform.ports import LOOPBACK

TIMEOUT_S: Final = 2.0
METADATA: Final = 3
SASL_HANDSHAKE: Final = 17
SASL_AUTHENTICATE: Final = 36
METADATA_VERSION: Final = 5
"""The last one whose request has no tagged fields."""

Login = tuple[str, str]
"""User and password."""


async def kafka_answers(port: int, login: Login | None = None, timeout_s: float = TIMEOUT_S) -> bool:
    """Whether a broker on ``port`` lets this user in, or everybody for None, takes requests and has itself in the
    cluster's metadata.

    Asked in a dozen bytes of the protocol rather than with librdkafka. The supervisor asks, which must stay small, and
    forks, which it must not do beside librdkafka's threads.
    """
    requests = [*_login(login), (METADATA, METADATA_VERSION, struct.pack(">i?", 0, False))]
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            try:
                for key, version, body in requests:
                    answer = await _answered(reader, writer, key, version, body)
                    # of the first two an error code, of the last throttle time and number of brokers
                    if key != METADATA and struct.unpack_from(">h", answer)[0]:
                        return False
                return bool(struct.unpack_from(">ii", answer)[1] > 0)
            finally:
                writer.close()
    except (OSError, TimeoutError, asyncio.IncompleteReadError, struct.error):
        return False


def _login(login: Login | None) -> list[tuple[int, int, bytes]]:
    """The requests that a login by PLAIN is: key, version, body."""
    if login is None:
        return []
    mechanism, proof = b"PLAIN", b"\0" + b"\0".join(part.encode() for part in login)
    return [
        (SASL_HANDSHAKE, 1, struct.pack(">h", len(mechanism)) + mechanism),
        (SASL_AUTHENTICATE, 0, struct.pack(">i", len(proof)) + proof),
    ]


async def _answered(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: int, version: int, body: bytes
) -> bytes:
    """The broker's answer to a request, after the correlation id."""
    client = b"backplane"
    request = struct.pack(">hhih", key, version, 1, len(client)) + client + body
    writer.write(struct.pack(">i", len(request)) + request)
    (size,) = struct.unpack(">i", await reader.readexactly(4))
    return (await reader.readexactly(size))[4:]


async def listens(port: int, timeout_s: float = TIMEOUT_S) -> bool:
    """Whether somebody takes connections there."""
    try:
        async with asyncio.timeout(timeout_s):
            _, writer = await asyncio.open_connection(LOOPBACK, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


async def http_ok(port: int, path: str, timeout_s: float = TIMEOUT_S) -> bool:
    """Whether GET ``path`` answers 200."""
    request = f"GET {path} HTTP/1.1\r\nHost: {LOOPBACK}:{port}\r\nConnection: close\r\n\r\n"
    answer = await _ask(port, request.encode(), len("HTTP/1.1 200"), timeout_s)
    return answer.endswith(b" 200")


async def health(port: int, timeout_s: float = TIMEOUT_S, path: str = "/health", token: str = "") -> dict[str, Any]:
    """A Python part's report about itself at ``/health``, or elsewhere; empty when it says nothing. ``token``: shown to
    parts that ask who wants to know."""
    # HTTP/1.0: the answer ends with the connection and is never chunked.
    shown = f"Authorization: Bearer {token}\r\n" if token else ""
    request = f"GET {path} HTTP/1.0\r\nHost: {LOOPBACK}:{port}\r\n{shown}\r\n"
    answer = await _ask(port, request.encode(), -1, timeout_s)
    try:
        said = json.loads(answer.partition(b"\r\n\r\n")[2])
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


async def _ask(port: int, request: bytes, size: int, timeout_s: float) -> bytes:
    """The first ``size`` bytes of the answer, all of it for -1; empty when there is none in time."""
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            try:
                writer.write(request)
                return await (reader.read() if size < 0 else reader.readexactly(size))
            finally:
                writer.close()
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return b""
