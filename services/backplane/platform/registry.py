"""Apicurio Registry with its schemas in a file database; ids survive any restart."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from backplane.platform import probes
from backplane.platform.ports import LOOPBACK

API: Final = "/apis/ccompat/v7"
RUNNER: Final = "apicurio-registry-app-3.0.9-runner.jar"


def program(home: Path) -> list[str]:
    """The JVM's command line for the registry."""
    return ["-jar", str(home / RUNNER)]


def environment(folder: Path, port: int) -> dict[str, str]:
    """Its settings."""
    return {
        "QUARKUS_HTTP_HOST": LOOPBACK,  # its default is every interface
        "QUARKUS_HTTP_PORT": str(port),
        "QUARKUS_HTTP_ACCESS_LOG_ENABLED": "false",
        "QUARKUS_LOG_LEVEL": "WARN",
        "REGISTRY_LOG_LEVEL": "WARN",
        "QUARKUS_BANNER_ENABLED": "false",
        "APICURIO_STORAGE_KIND": "sql",
        "APICURIO_STORAGE_SQL_KIND": "h2",
        # WRITE_DELAY=0: else an id that was given out can be lost when the process is killed within half a second,
        # and every event written with it could not be read again.
        "APICURIO_DATASOURCE_URL": f"jdbc:h2:file:{folder / 'registry'};WRITE_DELAY=0",
        "APICURIO_DATASOURCE_USERNAME": "sa",
        "APICURIO_DATASOURCE_PASSWORD": "sa",
        "APICURIO_RULES_GLOBAL_COMPATIBILITY": "BACKWARD",
    }


def url(port: int) -> str:
    """The base of Confluent's API."""
    return f"http://{LOOPBACK}:{port}{API}"


async def answers(port: int) -> bool:
    """Whether the registry on ``port`` says that it is ready."""
    return await probes.http_ok(port, "/health/ready")
