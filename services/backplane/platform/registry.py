"""Apicurio Registry with its schemas in a file database; ids survive any restart.

It answers nobody without a login but whether it is ready, so no page in a browser reaches it by another name for our
address. A login for reading changes no schema: that takes the operator's login.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from agents_sdk.core.identity import OPERATOR
from agents_sdk.registry_login import READER
from backplane.platform import probes
from backplane.platform.errors import disk_error
from backplane.platform.ports import LOOPBACK

API: Final = "/apis/ccompat/v7"
RUNNER: Final = "apicurio-registry-app-3.0.9-runner.jar"


USERS_FILE: Final = "users.properties"
RULES: Final = f"""\
quarkus.http.auth.basic=true
quarkus.security.users.embedded.plain-text=true
quarkus.security.users.embedded.roles."{OPERATOR}"=writer
quarkus.security.users.embedded.roles."{READER}"=reader
quarkus.http.auth.policy.writes.roles-allowed=writer
quarkus.http.auth.policy.reads.roles-allowed=writer,reader
# The path that says most of a request counts, and a method that is not named for it is refused. Whatever path is not
# named here, in any spelling, takes the right to write.
quarkus.http.auth.permission.all.paths=/*
quarkus.http.auth.permission.all.policy=writes
quarkus.http.auth.permission.ready.paths=/health/ready
quarkus.http.auth.permission.ready.methods=GET
quarkus.http.auth.permission.ready.policy=permit
quarkus.http.auth.permission.get.paths={API}/*,{API}/subjects/*,{API}/subjects/*/*
quarkus.http.auth.permission.get.methods=GET
quarkus.http.auth.permission.get.policy=reads
# POST of a schema to its subject asks whether it is there; to the subject's versions it registers it.
quarkus.http.auth.permission.ask.paths={API}/subjects/*
quarkus.http.auth.permission.ask.methods=POST
quarkus.http.auth.permission.ask.policy=reads
quarkus.http.auth.permission.drop.paths={API}/subjects/*
quarkus.http.auth.permission.drop.methods=PUT,DELETE,PATCH
quarkus.http.auth.permission.drop.policy=writes
quarkus.http.auth.permission.change.paths={API}/*,{API}/subjects/*/*
quarkus.http.auth.permission.change.methods=POST,PUT,DELETE,PATCH
quarkus.http.auth.permission.change.policy=writes
"""


def write_users(folder: Path, passwords: Mapping[str, str]) -> Path:
    """The file, for its owner alone, that says who may do what, with these passwords. Raises NoSpace."""
    path = folder / USERS_FILE
    users = "".join(
        f'quarkus.security.users.embedded.users."{user}"={password}\n' for user, password in passwords.items()
    )
    try:
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w") as file:
            file.write(RULES + users)
    except OSError as error:
        raise disk_error(error, path) from error
    return path


def program(home: Path) -> list[str]:
    """The JVM's command line for the registry."""
    return ["-jar", str(home / RUNNER)]


def environment(folder: Path, port: int, users: Path | None) -> dict[str, str]:
    """Its settings; without ``users`` it asks nobody for a login."""
    return {
        **({"QUARKUS_CONFIG_LOCATIONS": str(users)} if users is not None else {}),
        "QUARKUS_HTTP_CORS_ORIGINS": "http://nobody.invalid",  # its default trusts pages of two ports
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
