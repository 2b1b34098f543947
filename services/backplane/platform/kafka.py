"""One Kafka broker in KRaft mode, broker and controller in one process, on loopback."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from agents_sdk.core.identity import BROKER
from agents_sdk.kafka_login import SUPER_USERS
from backplane.platform.errors import disk_error
from backplane.platform.ports import LOOPBACK

MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024
"""Above the 1 MiB a value may have: a fact carries the value, its envelope, and sometimes the value before."""

INTERNAL_PARTITIONS: Final = 4
"""Of ``__consumer_offsets`` and ``__transaction_state``. Kafka's 50 cost start time and memory for nothing here."""

CONFIG: Final = """\
process.roles=broker,controller
node.id=1
{door}
controller.listener.names=CONTROLLER
controller.quorum.voters=1@{host}:{controller_port}
log.dirs={log_dir}

# One node: every internal topic has one replica.
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions={internal_partitions}
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions={internal_partitions}
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1

# A transaction that somebody leaves open holds all readers of its partitions back: for a minute, the clients' default.
transaction.max.timeout.ms=60000

# A misspelt topic is an error, not a new topic.
auto.create.topics.enable=false
message.max.bytes={max_message_bytes}
replica.fetch.max.bytes={max_message_bytes}

# A lone consumer must not wait for others to join; and a killed worker's partitions must move within seconds.
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
group.consumer.min.session.timeout.ms=1000
group.consumer.min.heartbeat.interval.ms=300

# A broker that was killed may register again only when its old session is over: 9 s by default, and nobody else can
# take its place here. Not shorter than this: a busy machine stalls for a second, and a fenced broker serves nobody.
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000

# A laptop: do not grow without bound, do not hold threads that idle.
log.segment.bytes=67108864
log.cleaner.dedupe.buffer.size=16777216
num.network.threads=2
num.io.threads=4
num.recovery.threads.per.data.dir=2
background.threads=2
"""

OPEN: Final = """\
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT"""
"""The door of a Kafka that asks nobody who he is."""

GUARDED: Final = """\
listeners=CLIENTS://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=CLIENTS://{host}:{port}
listener.security.protocol.map=CLIENTS:SASL_PLAINTEXT,CONTROLLER:SASL_PLAINTEXT
inter.broker.listener.name=CLIENTS

# Nobody is let in without a password, and nobody does what is not allowed by name. The platform's own users stand here,
# so a data directory of any age knows them. Agents are users that are added while Kafka runs.
sasl.mechanism.inter.broker.protocol=PLAIN
sasl.mechanism.controller.protocol=PLAIN
listener.name.clients.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.clients.plain.sasl.jaas.config={plain} {login} {users};
listener.name.clients.scram-sha-256.sasl.jaas.config={scram};
listener.name.clients.scram-sha-512.sasl.jaas.config={scram};
listener.name.controller.sasl.enabled.mechanisms=PLAIN
listener.name.controller.plain.sasl.jaas.config={plain} {login} {broker};
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users={super_users}
allow.everyone.if.no.acl.found=false"""
"""The door of a Kafka that does."""

MODULE: Final = "org.apache.kafka.common.security.{}LoginModule required"

LOGGING: Final = (
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
    # The reason why a broker ends stands here, at info.
    "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info",
)


def write_config(folder: Path, port: int, controller_port: int, users: Mapping[str, str]) -> Path:
    """Write the broker's properties, which only their owner reads, and return their path. ``users``: the passwords of
    the platform's own users, the broker's among them; empty: Kafka asks nobody who he is.

    Raises:
        DiskFull, PlatformError: the file cannot be written.
    """
    path = folder / "server.properties"
    text = CONFIG.format(
        door=_door(port, controller_port, users),
        host=LOOPBACK,
        controller_port=controller_port,
        log_dir=folder / "data",
        internal_partitions=INTERNAL_PARTITIONS,
        max_message_bytes=MAX_MESSAGE_BYTES,
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
    except OSError as error:
        raise disk_error(error, path) from error
    return path


def _door(port: int, controller_port: int, users: Mapping[str, str]) -> str:
    where = {"host": LOOPBACK, "port": port, "controller_port": controller_port}
    if not users:
        return OPEN.format(**where)
    return GUARDED.format(
        **where,
        plain=MODULE.format("plain.Plain"),
        scram=MODULE.format("scram.Scram"),
        login=f'username="{BROKER}" password="{users[BROKER]}"',
        users=" ".join(f'user_{name}="{secret}"' for name, secret in users.items()),
        broker=f'user_{BROKER}="{users[BROKER]}"',
        super_users=";".join(f"User:{name}" for name in SUPER_USERS),
    )


def program(class_path: Sequence[Path], config: Path) -> list[str]:
    """The JVM's command line for the broker."""
    return [*LOGGING, "-cp", os.pathsep.join(map(str, class_path)), "kafka.Kafka", str(config)]


def format_program(class_path: Sequence[Path], config: Path) -> list[str]:
    """The JVM's command line for the time before the first start."""
    tool = ["kafka.tools.StorageTool", "format", f"--cluster-id={_cluster_id()}", "--config", str(config)]
    return [*LOGGING, "-cp", os.pathsep.join(map(str, class_path)), *tool]


def formatted(folder: Path) -> bool:
    """Whether the broker's log directory has its cluster id."""
    return (folder / "data" / "meta.properties").exists()


def _cluster_id() -> str:
    return base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")
