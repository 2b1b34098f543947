"""The real thing: Kafka and the registry on loopback, started, killed and stopped."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from agents_sdk.topics import CALLS, COMMANDS, FACT_TOPICS
from backplane.platform.kafka import MAX_MESSAGE_BYTES
from backplane.platform.platform import LocalPlatform
from backplane.platform.status import read
from tests.support.eventually import assert_eventually

SERVERS = ("kafka", "registry")


@pytest.fixture(scope="module")
def breakable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPlatform]:
    """Kafka and the registry of this module alone."""
    with LocalPlatform(tmp_path_factory.mktemp("breakable"), parts=SERVERS) as running:
        yield running


@pytest.fixture
def own(breakable: LocalPlatform) -> LocalPlatform:
    """A platform that a test may break: started again for the next one where it was."""
    if not breakable.layout.running():
        breakable.stop()
        breakable.start()
    return breakable


def make_topic(platform: LocalPlatform) -> str:
    name = f"t-{uuid.uuid4().hex[:8]}"
    admin = AdminClient({**platform.settings.kafka})
    admin.create_topics([NewTopic(name, 1, 1)])[name].result(30)
    return name


def produce(platform: LocalPlatform, topic: str, value: bytes) -> None:
    limit = {
        "message.max.bytes": 2 * MAX_MESSAGE_BYTES,
        "message.timeout.ms": 20_000,
        "topic.metadata.propagation.max.ms": 500,
    }
    producer = Producer({**platform.settings.kafka, **limit})
    failed: list[Any] = []
    producer.produce(topic, value, on_delivery=lambda error, _: failed.append(error) if error else None)
    assert producer.flush(30) == 0
    if failed:
        raise KafkaException(failed[0])


def first_value(platform: LocalPlatform, topic: str) -> bytes | None:
    consumer = Consumer({**platform.settings.kafka, "group.id": "reader", "auto.offset.reset": "earliest"})
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        message = consumer.poll(20)
        assert message is not None
        assert message.error() is None
        return message.value()
    finally:
        consumer.close()


def login(platform: LocalPlatform) -> tuple[str, str]:
    registry = platform.settings.registry
    return registry.username, registry.password.get_secret_value()


def register(platform: LocalPlatform, subject: str) -> int:
    schema = {"type": "record", "name": subject.title().replace("-", ""), "fields": [{"name": "a", "type": "long"}]}
    url = f"{platform.settings.registry.url}/subjects/{subject}/versions"
    answer = httpx.post(url, json={"schema": json.dumps(schema)}, auth=login(platform), timeout=20, trust_env=False)
    return int(answer.raise_for_status().json()["id"])


def schema_of(platform: LocalPlatform, number: int) -> str:
    url = f"{platform.settings.registry.url}/schemas/ids/{number}"
    answer = httpx.get(url, auth=login(platform), timeout=20, trust_env=False)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["schema"])


def gone(some: list[int]) -> None:
    left = [pid for pid in some if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]
    assert left == []


def restarted(platform: LocalPlatform, part: str, before: int) -> dict[str, Any]:
    described = platform.part(part)
    assert described["state"] == "ready"
    assert described["pid"] != before
    return described


def test_kafka_takes_large_values_and_refuses_larger_ones(platform: LocalPlatform) -> None:
    """A value of 1 MiB travels with its envelope; something absurd is refused, not swallowed."""
    topic, value = make_topic(platform), os.urandom(3 * 1024 * 1024)
    produce(platform, topic, value)
    assert first_value(platform, topic) == value

    with pytest.raises(KafkaException, match="MSG_SIZE_TOO_LARGE"):
        produce(platform, topic, os.urandom(MAX_MESSAGE_BYTES + 1000))


def test_misspelt_topic_is_an_error_and_not_a_new_topic(platform: LocalPlatform) -> None:
    """Topics are made from schemas/topics, by nobody else."""
    with pytest.raises(KafkaException, match="UNKNOWN_TOPIC"):
        produce(platform, "bp.comands", b"x")
    assert "bp.comands" not in AdminClient({**platform.settings.kafka}).list_topics(timeout=20).topics


def test_a_start_on_a_prepared_directory_has_nothing_to_make(platform: LocalPlatform) -> None:
    """Topics and schemas are in the copy, so the platforms of these tests start faster."""
    said = platform.layout.log("topics").read_text()
    assert "create topic" not in said
    assert "register schema" not in said


def test_servers_listen_on_loopback_only(platform: LocalPlatform) -> None:
    """Nothing of a developer's platform can be reached from the network."""
    for part in SERVERS:
        sockets = psutil.Process(platform.pid(part)).net_connections("inet")
        listening = {each.laddr.ip for each in sockets if each.status == psutil.CONN_LISTEN}
        assert listening <= {"127.0.0.1", "::ffff:127.0.0.1"}, part


def test_settings_lead_to_the_platform_of_the_data_directory(
    platform: LocalPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BACKPLANE_DATA_DIR is all that a client needs."""
    from agents_sdk.settings import load_settings

    monkeypatch.setenv("BACKPLANE_DATA_DIR", str(platform.layout.data_dir))
    assert load_settings().kafka == platform.settings.kafka
    assert load_settings().registry.url == platform.settings.registry.url


def test_status_has_memory_of_every_part_and_lag_of_every_worker(platform: LocalPlatform) -> None:
    """Of the real parts: what each takes, and how far ledger, executor and store are behind, by topic."""
    parts = {part["part"]: part for part in read(platform.layout)["parts"] if part["shown"] and not part["task"]}

    assert parts.pop("console")["port"]  # which nobody waits for: it may be on its way yet
    assert set(parts) == {"kafka", "registry", "sink", "ledger", "executor"}
    assert all(part["state"] == "ready" and part["rss_mb"] > 20 and part["port"] for part in parts.values()), parts
    topics = {name: {topic.partition("[")[0] for topic in parts[name]["lag"] or ()} for name in parts}
    assert topics["ledger"] == {COMMANDS}
    assert topics["executor"] == {CALLS}
    assert topics["sink"] == set(FACT_TOPICS)


def test_two_platforms_run_side_by_side(platform: LocalPlatform, own: LocalPlatform) -> None:
    """Each with ports, topics and schemas of its own."""
    topic = make_topic(own)

    assert topic in AdminClient({**own.settings.kafka}).list_topics(timeout=20).topics
    assert topic not in AdminClient({**platform.settings.kafka}).list_topics(timeout=20).topics
    assert not set(platform.record()["ports"].values()) & set(own.record()["ports"].values())


def test_killed_kafka_comes_back_with_its_data_on_its_port(own: LocalPlatform) -> None:
    """What was acknowledged is there; the status says what happened."""
    topic, port, restarts = make_topic(own), own.port("kafka"), own.part("kafka")["restarts"]
    produce(own, topic, b"kept")
    before = own.kill("kafka")

    part = assert_eventually(lambda: restarted(own, "kafka", before), 30)
    assert (part["restarts"], part["port"]) == (restarts + 1, port)
    assert part["last_exit"].startswith("signal 9 (SIGKILL)")
    assert first_value(own, topic) == b"kept"


def test_schema_id_survives_a_kill_right_after_it_was_given_out(own: LocalPlatform) -> None:
    """Else events written with it could never be read again."""
    for attempt in range(2):
        number = register(own, f"subject-{attempt}")
        before = own.kill("registry")
        assert_eventually(partial(restarted, own, "registry", before), 30)
        assert "record" in schema_of(own, number)


def test_restart_keeps_ports_topics_and_schemas(own: LocalPlatform) -> None:
    """`down` and `up` are a pause."""
    topic, number, ports = make_topic(own), register(own, "lasting"), own.record()["ports"]
    own.stop()
    own.start()

    assert own.record()["ports"] == ports
    assert topic in AdminClient({**own.settings.kafka}).list_topics(timeout=20).topics
    assert register(own, "lasting") == number


def test_port_taken_meanwhile_is_replaced(own: LocalPlatform) -> None:
    """Somebody else listens where Kafka was: the platform starts elsewhere and says where."""
    taken = own.port("kafka")
    topic = make_topic(own)
    own.stop()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", taken))
        other.listen(1)
        own.start()

        assert own.port("kafka") != taken
        assert topic in AdminClient({**own.settings.kafka}).list_topics(timeout=20).topics


def test_killed_supervisor_leaves_no_java_behind(own: LocalPlatform) -> None:
    """However hard it is killed."""
    parts = [own.pid(part) for part in SERVERS]
    os.kill(own.supervisor_pid, signal.SIGKILL)

    assert_eventually(lambda: gone(parts))


def test_java_that_will_not_start_is_one_message_with_its_words(tmp_path: Path) -> None:
    """Here it is given options that it does not know; nothing is left running."""
    platform = LocalPlatform(tmp_path / "data", parts=SERVERS, env={"JDK_JAVA_OPTIONS": "-XX:+NoSuchFlag"})

    with pytest.raises(Exception, match="NoSuchFlag") as caught:
        platform.start()
    assert getattr(caught.value, "code", "") == "part_failed"
    assert not platform.layout.running()


def test_command_line_starts_shows_and_stops(tmp_path: Path) -> None:
    """up --detach, status, logs, doctor, down: each with its exit code, and nothing is left."""
    env = {**os.environ, "BACKPLANE_DATA_DIR": str(tmp_path / "data")}

    def backplane(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "backplane.cli.app", *arguments]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=100)

    assert backplane("status").returncode == 5
    started = backplane("up", "--detach", "--parts", "kafka,registry", "--profile", "small")
    try:
        assert started.returncode == 0, started.stderr
        assert re.search(r"ready after \d", started.stderr)
        status = json.loads(backplane("status", "--json").stdout)
        parts = {part["part"]: part for part in status["parts"]}
        assert status["state"] == parts["kafka"]["state"] == parts["registry"]["state"] == "ready"
        assert backplane("up").returncode == 1
        checks = {row["check"]: row["verdict"] for row in json.loads(backplane("doctor", "--json").stdout)}
        assert checks["kafka"] == checks["registry"] == "ok"
        assert "Kafka Server started" in backplane("logs", "kafka").stdout
        assert backplane("logs", "nobody").returncode == 3
    finally:
        assert backplane("down").returncode == 0
    started_by_it = [status["supervisor"]["pid"], parts["kafka"]["pid"], parts["registry"]["pid"]]
    assert_eventually(lambda: gone(started_by_it))


def test_control_c_ends_a_platform_in_the_foreground(tmp_path: Path) -> None:
    """Within ten seconds, with the exit code that says so."""
    options = ["--data-dir", str(tmp_path), "--parts", "kafka,registry"]
    command = [sys.executable, "-m", "backplane.cli.app", "up", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("platform: ready"):
                break
        record = json.loads((tmp_path / "platform.json").read_text())
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(10) == 130
    assert_eventually(lambda: gone([record["parts"][part]["pid"] for part in SERVERS]))
