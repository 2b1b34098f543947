"""librdkafka's properties of a Kafka cluster, said in faust's terms: where it is, and how to be let in.

Pure but for the certificates, which are read. The properties keep librdkafka's names and meaning, its aliases included;
what faust cannot do is refused rather than left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from faust import SASLCredentials, SSLCredentials
from faust.types.auth import CredentialsT

from agents_sdk.settings import NotConfigured
from agents_sdk.wire.eviction import tls_context

MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
PROTOCOLS: Final = ("plaintext", "ssl", "sasl_plaintext", "sasl_ssl")
DEFAULT_MECHANISM: Final = "GSSAPI"
"""librdkafka's."""


def addresses(kafka: Mapping[str, str]) -> list[str]:
    """``host:port`` of every bootstrap server."""
    named = kafka["bootstrap.servers"].split(",")
    return [name.strip().rpartition("://")[2] for name in named if name.strip()]


def credentials(kafka: Mapping[str, str]) -> CredentialsT | None:
    """How faust is let in; None: nothing is asked.

    Raises:
        NotConfigured: faust has no such protocol or mechanism.
        OSError: a certificate cannot be read.
    """
    protocol = kafka.get("security.protocol", "plaintext").lower()
    if protocol not in PROTOCOLS:
        raise _not_possible("security.protocol", protocol, PROTOCOLS)
    if protocol == "plaintext":
        return None
    context = tls_context(kafka) if protocol.endswith("ssl") else None
    if protocol == "ssl":
        return SSLCredentials(context)
    mechanism = kafka.get("sasl.mechanism") or kafka.get("sasl.mechanisms") or DEFAULT_MECHANISM
    if mechanism.upper() not in MECHANISMS:
        raise _not_possible("sasl.mechanism", mechanism, MECHANISMS)
    return SASLCredentials(
        username=kafka.get("sasl.username"),
        password=kafka.get("sasl.password"),
        mechanism=mechanism.upper(),
        ssl_context=context,
    )


def _not_possible(name: str, value: str, possible: tuple[str, ...]) -> NotConfigured:
    return NotConfigured(
        f"the services cannot use {name}={value!r}", hint=f"set {name!r} of kafka to one of {', '.join(possible)}"
    )
