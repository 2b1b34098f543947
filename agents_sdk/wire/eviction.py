"""Takes a dead member out of its consumer group, so that the others need not wait for the end of its session.

The request names the member (KIP-345), which neither confluent_kafka nor aiokafka offers; aiokafka's client carries it.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Collection, Mapping
from importlib.util import find_spec
from typing import Any, Final

TIMEOUT_S: Final = 5.0
logging.getLogger("aiokafka.conn").addFilter(lambda record: "in the clear" not in record.msg)
"""Of a broker without TLS it says so at each connection; librdkafka, by which all else is sent there, does not."""
_API_KEY: Final = 13
_FINE: Final = (0, 25, 69)
"""Done; no such member; no such group."""


def tls_context(kafka: Mapping[str, str]) -> ssl.SSLContext:
    """librdkafka's properties about TLS as Python has them. Raises OSError where a certificate cannot be read."""
    context = ssl.create_default_context(cafile=kafka.get("ssl.ca.location"), cadata=kafka.get("ssl.ca.pem"))
    if kafka.get("ssl.endpoint.identification.algorithm", "https").lower() == "none":
        context.check_hostname = False
    if kafka.get("enable.ssl.certificate.verification", "true").lower() == "false":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if "ssl.certificate.location" in kafka:
        context.load_cert_chain(
            kafka["ssl.certificate.location"], kafka.get("ssl.key.location"), kafka.get("ssl.key.password")
        )
    return context


def evict(kafka: Mapping[str, str], group: str, instance: str) -> None:
    """Removes the static member ``instance`` from the group; one that is not there any more is fine. Blocks, for 5 s at
    most. Without aiokafka, which the SDK alone does not bring, nothing is done: the others wait as before. Raises
    TimeoutError, OSError, aiokafka's KafkaError."""
    evict_all(kafka, [(group, instance)])


def evict_all(kafka: Mapping[str, str], members: Collection[tuple[str, str]]) -> None:
    """As ``evict``, of several groups: each member is a group and its instance."""
    if find_spec("aiokafka") is None:
        return
    asyncio.run(asyncio.wait_for(_evict(kafka, members), TIMEOUT_S))


async def _evict(kafka: Mapping[str, str], members: Collection[tuple[str, str]]) -> None:
    from aiokafka.client import AIOKafkaClient

    client = AIOKafkaClient(**_properties(kafka))
    await client.bootstrap()
    try:
        await asyncio.gather(*(_leave(client, group, instance) for group, instance in members))
    finally:
        await client.close()


async def _leave(client: Any, group: str, instance: str) -> None:
    from aiokafka.client import ConnectionGroup, CoordinationType
    from aiokafka.errors import for_code

    coordinator = await client.coordinator_lookup(CoordinationType.GROUP, group)
    await client.ready(coordinator, group=ConnectionGroup.COORDINATION)
    said = await client.send(coordinator, _request(group, instance), group=ConnectionGroup.COORDINATION)
    for code in (said.error_code, *(member[2] for member in said.members)):
        if code not in _FINE:
            raise for_code(code)


def _properties(kafka: Mapping[str, str]) -> dict[str, Any]:
    protocol = kafka.get("security.protocol", "plaintext").upper()
    servers = [name.strip().rpartition("://")[2] for name in kafka["bootstrap.servers"].split(",")]
    found: dict[str, Any] = {"bootstrap_servers": servers, "security_protocol": protocol, "client_id": "bp.evict"}
    if protocol.endswith("SSL"):
        found["ssl_context"] = tls_context(kafka)
    if protocol.startswith("SASL"):
        found["sasl_mechanism"] = (kafka.get("sasl.mechanism") or kafka.get("sasl.mechanisms") or "PLAIN").upper()
        found["sasl_plain_username"] = kafka.get("sasl.username")
        found["sasl_plain_password"] = kafka.get("sasl.password")
    return found


def _request(group: str, instance: str) -> Any:
    from aiokafka.protocol.api import Request, RequestStruct, Response
    from aiokafka.protocol.types import Array, Int16, Int32, Schema, String

    text = String("utf-8")

    class LeftGroup(Response):  # type: ignore[misc]  # aiokafka has no types
        API_KEY = _API_KEY
        API_VERSION = 3
        SCHEMA = Schema(
            ("throttle_time_ms", Int32),
            ("error_code", Int16),
            ("members", Array(("member_id", text), ("group_instance_id", text), ("error_code", Int16))),
        )

    class LeaveGroupV3(RequestStruct):  # type: ignore[misc]  # aiokafka has no types
        API_KEY = _API_KEY
        API_VERSION = 3
        RESPONSE_TYPE = LeftGroup
        SCHEMA = Schema(("group", text), ("members", Array(("member_id", text), ("group_instance_id", text))))

    class LeaveGroup(Request[LeaveGroupV3]):  # type: ignore[misc]  # aiokafka has no types
        API_KEY = _API_KEY
        _CLASSES = (LeaveGroupV3,)

        def build(self, request_struct_class: type[LeaveGroupV3]) -> LeaveGroupV3:
            return request_struct_class(group, [("", instance)])

    return LeaveGroup()
