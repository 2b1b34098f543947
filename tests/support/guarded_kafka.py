"""A Kafka that lets nobody in without a password: the platform's own, with a SASL listener beside the open one."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from backplane.platform.parts import TABLE as PLATFORM
from backplane.platform.parts import Launch, Site
from backplane.platform.ports import LOOPBACK

USER: Final = "backplane"
PASSWORD: Final = "hunter2"
DOOR: Final = "kafka-guarded"
"""The port of the listener with the password."""

LOCK: Final = f"""
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,GUARDED:SASL_PLAINTEXT
listener.name.guarded.sasl.enabled.mechanisms=PLAIN
listener.name.guarded.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
user_{USER}="{PASSWORD}";
"""
"""The last line of a name counts."""

ROWS: Final = {part.name: part for part in PLATFORM}


def _format(site: Site) -> Launch | None:
    launch = ROWS["format"].launch(site)
    config = site.layout.store("kafka") / "server.properties"
    lines = config.read_text().splitlines()
    door = f",GUARDED://{LOOPBACK}:{site.ports[DOOR]}"
    opened = [line + door if line.startswith(("listeners=", "advertised.listeners=")) else line for line in lines]
    config.write_text("\n".join(opened) + LOCK)
    return launch


TABLE: Final = (
    replace(ROWS["format"], launch=_format),
    replace(ROWS["kafka"], ports=(*ROWS["kafka"].ports, DOOR)),
    ROWS["registry"],
)
