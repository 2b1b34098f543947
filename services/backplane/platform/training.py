"""Makes the start-up archives of Kafka and the registry: runs each once, does what a session does, lets it write.

``python -m backplane.platform.training [PROFILE]``. Takes 20 s of one processor, once per user and version; the
platform runs it at the lowest priority after its first start. Two at a time do no harm: the second finds nothing to do.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from agents_sdk.core.identity import OPERATOR
from agents_sdk.kafka_login import PASSWORD, USERS, named
from agents_sdk.settings import cache_dir
from backplane.platform import artifacts, child, java, kafka, ports, probes, registry
from backplane.platform.parts import Probe

READY_LIMIT_S: Final = 120.0
WRITE_LIMIT_S: Final = 180.0
"""Writing an archive takes 8 s on a free processor, and this runs at the lowest priority."""


def missing(cache: Path, jars_key: str, heap: java.Heap) -> list[str]:
    """The programs without an archive."""
    return [name for name in ("kafka", "registry") if not java.archive(cache, name, jars_key, heap).exists()]


def train(profile: str) -> None:
    """Make the archives that are missing.

    Raises:
        RuntimeError: a program did not come up, or wrote nothing.
    """
    cache, heap = cache_dir(), java.PROFILES[profile]
    jars = artifacts.jars(cache)
    folder = cache / "aot"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock, tempfile.TemporaryDirectory(prefix="backplane-") as scratch:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for name in missing(cache, jars.key, heap):
            archive = java.archive(cache, name, jars.key, heap)
            {"kafka": _train_kafka, "registry": _train_registry}[name](Path(scratch), heap, jars, archive)


def _train_kafka(scratch: Path, heap: java.Heap, jars: artifacts.Jars, archive: Path) -> None:
    chosen = ports.choose(("kafka", "controller"), {})
    users = {user: secrets.token_hex(16) for user in USERS}
    config = kafka.write_config(scratch / "kafka", chosen["kafka"], chosen["controller"], users)
    absent = Path("absent")
    format_command = java.command(kafka.format_program(jars.kafka, config), heap, heap.kafka_mb, absent)
    subprocess.run(format_command, check=True, capture_output=True)
    program = kafka.program(jars.kafka, config)
    login = OPERATOR, users[OPERATOR]
    ready, exercise = partial(probes.kafka_answers, login=login), partial(_exercise_kafka, login=login)
    _run(program, {}, heap, heap.kafka_mb, archive, chosen["kafka"], ready, exercise)


def _train_registry(scratch: Path, heap: java.Heap, jars: artifacts.Jars, archive: Path) -> None:
    port = ports.choose(("registry",), {})["registry"]
    login = OPERATOR, "training"
    env = registry.environment(scratch / "registry", port, registry.write_users(scratch, dict([login])))
    program, exercise = registry.program(jars.registry), partial(_exercise_registry, login=login)
    _run(program, env, heap, heap.registry_mb, archive, port, registry.answers, exercise)


def _run(
    program: Sequence[str],
    env: Mapping[str, str],
    heap: java.Heap,
    heap_mb: int,
    archive: Path,
    port: int,
    ready: Probe,
    exercise: Callable[[int], None],
) -> None:
    draft = archive.with_suffix(f".{os.getpid()}.tmp")
    log = archive.with_suffix(".log")
    process = child.Child(java.training_command(program, heap, heap_mb, draft), {**os.environ, **env}, log)
    try:
        asyncio.run(_until(lambda: ready(port), READY_LIMIT_S))
        exercise(port)
        process.send(signal.SIGTERM)
        asyncio.run(_until(lambda: _ended(process), WRITE_LIMIT_S))
        if not draft.exists():
            raise RuntimeError(f"no archive was written: {log}")
        draft.replace(archive)
    finally:
        process.send(signal.SIGKILL)
        process.send_rest()
        draft.unlink(missing_ok=True)


async def _until(holds: Callable[[], object], limit_s: float) -> None:
    async with asyncio.timeout(limit_s):
        while True:
            answer = holds()
            if await answer if asyncio.iscoroutine(answer) else answer:
                return
            await asyncio.sleep(0.1)


async def _ended(process: child.Child) -> bool:
    return process.exit_reason() is not None


def _exercise_kafka(port: int, login: probes.Login) -> None:
    """A topic, a permission, a transaction, a group: so that the classes a session needs are in the archive too."""
    from confluent_kafka import Consumer, Producer
    from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public, but not in __all__
        AclBinding,
        AclOperation,
        AclPermissionType,
        AdminClient,
        ResourcePatternType,
        ResourceType,
    )
    from confluent_kafka.cimpl import NewTopic

    address: dict[str, str | int | float | bool] = {"bootstrap.servers": f"{ports.LOOPBACK}:{port}"}
    address |= {**named(login[0]), PASSWORD: login[1]}
    admin = AdminClient(address)  # kept: its answers die with it
    for created in admin.create_topics([NewTopic("training", 1, 1)]).values():
        created.result(60)
    who, what = ("User:training", "*"), (AclOperation.READ, AclPermissionType.ALLOW)
    rule = AclBinding(ResourceType.TOPIC, "training", ResourcePatternType.LITERAL, *who, *what)
    for made in admin.create_acls([rule]).values():
        made.result(60)
    producer = Producer({**address, "transactional.id": "training"})
    producer.init_transactions(60)
    producer.begin_transaction()
    producer.produce("training", b"value", b"key")
    producer.commit_transaction(60)
    consumer = Consumer({**address, "group.id": "training", "auto.offset.reset": "earliest"})
    consumer.subscribe(["training"])
    consumer.poll(30)
    consumer.close()


def _exercise_registry(port: int, login: tuple[str, str]) -> None:
    """One schema in and out."""
    import httpx

    schema = {"schema": '{"type": "record", "name": "Training", "fields": [{"name": "a", "type": "long"}]}'}
    with httpx.Client(base_url=registry.url(port), timeout=60, trust_env=False, auth=login) as client:
        client.put("/config", json={"compatibility": "BACKWARD"})
        number = client.post("/subjects/training-value/versions", json=schema).raise_for_status().json()["id"]
        client.get(f"/schemas/ids/{number}").raise_for_status()
        client.post("/compatibility/subjects/training-value/versions/latest", json=schema)


if __name__ == "__main__":
    # The platform may stop before this is done: remove the broker, the draft and the temporary folder.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    with contextlib.suppress(KeyboardInterrupt):
        train(sys.argv[1] if sys.argv[1:] else "dev")
