"""librdkafka's properties mean to faust what they mean to librdkafka, or are refused."""

from __future__ import annotations

import ssl

import pytest
from faust import SASLCredentials, SSLCredentials

from agents_sdk.settings import NotConfigured
from backplane.runtime.brokers import addresses, credentials

SCRAM = {"sasl.mechanism": "SCRAM-SHA-512", "sasl.username": "me", "sasl.password": "hunter2"}


def test_every_bootstrap_server_counts() -> None:
    """The first may be down; a listener's prefix and white space are no part of the address."""
    assert addresses({"bootstrap.servers": "a:1, SASL_SSL://b:2,"}) == ["a:1", "b:2"]


@pytest.mark.parametrize("kafka", [{}, {"security.protocol": "plaintext"}, {"security.protocol": "PLAINTEXT"}])
def test_open_broker_asks_for_nothing(kafka: dict[str, str]) -> None:
    """librdkafka takes the protocol in any case."""
    assert credentials(kafka) is None


@pytest.mark.parametrize("name", ["sasl.mechanism", "sasl.mechanisms"])
def test_mechanism_has_two_names(name: str) -> None:
    """librdkafka documents the second and takes both; a mechanism that is missed would be PLAIN, in clear text."""
    made = credentials({"security.protocol": "SASL_PLAINTEXT", name: "scram-sha-256", "sasl.username": "me"})

    assert isinstance(made, SASLCredentials)
    assert (made.mechanism.value, made.protocol.value, made.username) == ("SCRAM-SHA-256", "SASL_PLAINTEXT", "me")
    assert made.ssl_context is None


def test_password_goes_through_tls_when_it_shall() -> None:
    """SASL_SSL: the password, and a server that must prove who it is."""
    made = credentials({"security.protocol": "SASL_SSL", **SCRAM})

    assert isinstance(made, SASLCredentials)
    assert (made.protocol.value, made.mechanism.value, made.password) == ("SASL_SSL", "SCRAM-SHA-512", "hunter2")
    assert made.ssl_context is not None
    assert made.ssl_context.check_hostname
    assert made.ssl_context.verify_mode is ssl.CERT_REQUIRED


@pytest.mark.parametrize(
    ("name", "value", "mode"),
    [
        ("ssl.endpoint.identification.algorithm", "none", ssl.CERT_REQUIRED),
        ("enable.ssl.certificate.verification", "false", ssl.CERT_NONE),
    ],
)
def test_checks_are_left_out_only_where_that_is_asked(name: str, value: str, mode: ssl.VerifyMode) -> None:
    """The name of the server alone, or its certificate with it."""
    made = credentials({"security.protocol": "ssl", name: value})

    assert isinstance(made, SSLCredentials)
    assert not made.context.check_hostname
    assert made.context.verify_mode is mode


@pytest.mark.parametrize(
    ("kafka", "named"),
    [
        ({"security.protocol": "sasl_plaintext"}, "GSSAPI"),
        ({"security.protocol": "sasl_plaintext", "sasl.mechanism": "OAUTHBEARER"}, "OAUTHBEARER"),
        ({"security.protocol": "tls"}, "tls"),
    ],
)
def test_what_faust_cannot_do_is_refused_by_name(kafka: dict[str, str], named: str) -> None:
    """Rather than tried with a password in clear text; GSSAPI is what librdkafka takes when nothing is said."""
    with pytest.raises(NotConfigured, match=rf"{named}.*one of"):
        credentials(kafka)
