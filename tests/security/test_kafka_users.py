"""The second wall, on the real platform: Kafka lets in who has a password, and each user does what it must, no more."""

from __future__ import annotations

import asyncio
import stat
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import pytest
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.cimpl import NewPartitions, NewTopic

from agents_sdk import Agent, AsyncBackplane, Context, Event, Settings, load_settings
from agents_sdk.keys import KeyUnusable
from agents_sdk.registry_login import READER
from agents_sdk.topics import CALLS, CAPABILITIES, COMMANDS, MESSAGES, REPLIES, STATE, SWITCHES, inbox, replies_of
from agents_sdk.wire.kafka_door import NotLetIn
from agents_sdk.wire.topics_admin import connect, existing
from backplane.cli.app import run as cli
from backplane.platform.platform import LocalPlatform
from backplane.topics import acls
from tests.support.eventually import assert_eventually
from tests.support.live_agents import own, running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
REFUSED: Final = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
)


async def issued(settings: Settings, name: str, path: Path, verb: str = "issue", *more: str) -> Settings:
    """The settings of somebody far away who has a key file and the addresses, and no key of the platform's."""
    where = ["--out", str(path), "--data-dir", str(settings.data_dir), *more]
    assert await asyncio.to_thread(cli, ["agents", verb, name, *where]) == 0
    return far_away(settings, path)


def far_away(settings: Settings, key_file: Path) -> Settings:
    return load_settings(
        data_dir=key_file.parent,
        kafka={
            "bootstrap.servers": settings.kafka["bootstrap.servers"],
            "security.protocol": "sasl_plaintext",
            "log_level": "0",
        },
        registry={"url": settings.registry.url, "username": READER},
        identity={"key_file": key_file},
    )


def written(settings: Settings, topic: str) -> int | None:
    """The code of the error that a record of this topic ends with; None: it was taken."""
    codes: list[int | None] = []
    producer = Producer({**settings.kafka, "message.timeout.ms": 8000})
    producer.produce(topic, b"noise", b"k", on_delivery=lambda error, _: codes.append(error.code() if error else None))
    producer.flush(20)
    return codes[0]


def read(settings: Settings, topic: str) -> int | None:
    """The code of the error that reading a topic ends with; None: it is read. A consumer waits for a topic that it may
    not look up, so that is asked first."""
    consumer = Consumer({**settings.kafka, "group.id": "bp.registry", "enable.partition.eof": True})
    try:
        known: Any = consumer.list_topics(topic, timeout=20).topics[topic].error
        if known is not None:
            return int(known.code())
        consumer.assign([TopicPartition(topic, 0, 0)])
        message: Any = consumer.poll(20)
        error = message.error() if message is not None else KafkaError(KafkaError._TIMED_OUT)
        return None if error is None or error.code() == KafkaError._PARTITION_EOF else error.code()
    finally:
        consumer.close()


def codes(answers: Iterable[Any]) -> list[int]:
    """The codes of the errors that an administrator's requests end with."""
    found = []
    for answer in answers:
        with pytest.raises(KafkaException) as raised:
            answer.result(20)
        found.append(raised.value.args[0].code())
    return found


def retried(check: Callable[[], None]) -> None:
    """``check``, until Kafka answers as it says, or there is a file."""

    def once() -> None:
        try:
            check()
        except (KafkaException, OSError, KeyUnusable) as error:
            raise AssertionError(str(error)) from error

    assert_eventually(once, 60)


def shut_out(far: Settings) -> None:
    """Kafka does not let these settings in."""
    with pytest.raises(KafkaException):
        AdminClient({**far.kafka}).list_topics(timeout=3)


def test_nobody_is_let_in_without_a_password(settings: Settings) -> None:
    """Neither without a login, nor with a wrong one, nor as another user with ours. The error says what to do."""
    address = {"bootstrap.servers": settings.kafka["bootstrap.servers"]}
    for login, user, step in (
        ({}, "", "BACKPLANE_DATA_DIR"),
        ({**settings.kafka, "sasl.password": "wrong"}, "bp.operator", "identity.master_file"),
        ({**settings.kafka, "sasl.username": "bp.ledger"}, "bp.ledger", "identity.master_file"),
        ({**settings.kafka, "sasl.username": "a", "sasl.mechanism": "SCRAM-SHA-256"}, "a", "agents issue a"),
    ):
        stranger = settings.model_copy(update={"kafka": {**login, **address}})
        with pytest.raises(NotLetIn) as raised:
            existing(connect(stranger), stranger)
        assert (raised.value.code, raised.value.fields["user"]) == ("auth", user)
        assert step in raised.value.hint


def test_the_controllers_door_is_closed(platform: LocalPlatform, settings: Settings) -> None:
    """Nobody but the broker is let in where the cluster's metadata are made, an operator neither."""
    door = f"127.0.0.1:{platform.record()['ports']['kafka-controller']}"
    for login in ({}, settings.kafka):
        with pytest.raises(KafkaException):
            AdminClient({**login, "bootstrap.servers": door, "log_level": "0"}).list_topics(timeout=3)


def test_secrets_are_their_owners(platform: LocalPlatform, settings: Settings) -> None:
    """The broker's file is read by its owner alone; no password is in the platform's record, nor in a log."""
    folder = platform.layout.data_dir
    assert stat.S_IMODE((folder / "kafka" / "server.properties").stat().st_mode) == 0o600
    secrets = list(platform.layout.kafka_users().values())
    assert settings.kafka["sasl.password"] in secrets
    for path in (platform.layout.record, *platform.layout.logs.glob("*.log")):
        text = path.read_text(errors="replace")
        assert not [each for each in secrets if each in text], path


async def test_an_agent_writes_commands_and_reads_its_own_alone(
    backplane: AsyncBackplane, settings: Settings, tmp_path: Path
) -> None:
    """With its key file and the addresses it works as any agent; nothing else is open to it."""
    agent, other = Agent(own("walled"), workflows=[own("w")]), own("neighbour")
    await issued(settings, other, tmp_path / "other.key")
    far = await issued(settings, agent.name, tmp_path / "own.key")
    handled: list[str] = []

    @agent.on("run.started")
    async def handle(ctx: Context, event: Event) -> None:
        await ctx.state.set("k", 1)
        handled.append(ctx.run_id)

    async with running(far, agent):
        run = await backplane.start_run(agent.workflows[0])
        assert (await run.wait(timeout=60)).status == "completed"
    assert handled == [run.id]

    readable = {inbox(agent.name), replies_of(agent.name), CAPABILITIES, SWITCHES}
    others = {inbox(other), replies_of(other), REPLIES, COMMANDS, STATE, CALLS, MESSAGES}
    for topic in (*readable, *others):
        code = await asyncio.to_thread(written, far, topic)
        assert code == (None if topic == COMMANDS else KafkaError.TOPIC_AUTHORIZATION_FAILED), topic
        code = await asyncio.to_thread(read, far, topic)
        assert code == (None if topic in readable else KafkaError.TOPIC_AUTHORIZATION_FAILED), topic


async def test_agents_of_a_local_platform_are_users(settings: Settings, tmp_path: Path) -> None:
    """An agent that nobody issued a key has one once it runs, with a login of its own; no other reads the file."""
    agents = tmp_path / "agents.py"
    name = own("newcomer")
    agents.write_text(
        f"from agents_sdk import Agent\na = Agent({name!r}, workflows=[{own('w')!r}])\n"
        "@a.on('run.started')\nasync def handle(ctx, event): pass\n"
    )
    command = [sys.executable, "-m", "backplane.cli.app", "agents", "run", str(agents)]
    process = await asyncio.create_subprocess_exec(*command, "--data-dir", str(settings.data_dir))
    assert settings.identity.keys_dir is not None
    key = settings.identity.keys_dir / f"{name}.key"

    def let_in() -> None:
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        topics = AdminClient({**far_away(settings, key).kafka}).list_topics(timeout=3).topics
        assert {inbox(name), replies_of(name), COMMANDS} <= topics.keys()
        assert STATE not in topics

    try:
        await asyncio.to_thread(retried, let_in)
    finally:
        process.terminate()
        await process.wait()


async def test_an_agent_administers_nothing(settings: Settings, tmp_path: Path) -> None:
    """It makes, changes and removes no topic, and no user; it moves no other group, and fences nobody."""
    far = await issued(settings, own("clerk"), tmp_path / "own.key")
    await asyncio.to_thread(_administers_nothing, far)


def _administers_nothing(far: Settings) -> None:
    admin, name = AdminClient({**far.kafka}), far.kafka["sasl.username"]
    topic = ConfigResource(
        ConfigResource.Type.TOPIC,
        COMMANDS,
        incremental_configs=[ConfigEntry("retention.ms", "1", incremental_operation=AlterConfigOpType.SET)],
    )
    asked = [
        *admin.create_topics([NewTopic("mine", 1, 1)]).values(),
        *admin.create_topics([NewTopic(inbox("mine"), 1, 1)]).values(),
        *admin.delete_topics([COMMANDS]).values(),
        *admin.delete_topics([inbox(name)]).values(),
        *admin.create_partitions([NewPartitions(COMMANDS, 9)]).values(),
        *admin.incremental_alter_configs([topic]).values(),
        *admin.delete_records([TopicPartition(COMMANDS, 0, 1)]).values(),
        *admin.delete_consumer_groups(["bp.ledger"]).values(),
        *admin.create_acls([acls._binding(acls.Acl(name, "topic", STATE, False, "read"))]).values(),
        *admin.alter_consumer_group_offsets(
            [ConsumerGroupTopicPartitions("bp.ledger", [TopicPartition(COMMANDS, 0, 0)])]
        ).values(),
    ]
    assert set(codes(asked)) <= set(REFUSED)
    fencer = Producer({**far.kafka, "transactional.id": "bp.ledger-0"})
    with pytest.raises(KafkaException) as raised:
        fencer.init_transactions(20)
    assert raised.value.args[0].code() == KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED


async def test_a_rotated_key_opens_and_a_revoked_one_does_not(settings: Settings, tmp_path: Path) -> None:
    """Kafka lets both generations in while a key is rotated, the new one alone where there is no time for that, and
    neither behind a revocation. What is issued then is let in again."""
    name = own("turning")
    first = await issued(settings, name, tmp_path / "1", "issue", "--role", "operator")
    second = await issued(settings, name, tmp_path / "2", "rotate")
    for far in (first, second):
        async with AsyncBackplane.connect(far, name=name) as client:
            await (await client.start_run("far", complete_when="explicit")).complete()
    third = await issued(settings, name, tmp_path / "3", "rotate", "--grace-seconds", "0")
    await asyncio.to_thread(assert_eventually, lambda: shut_out(second))
    AdminClient({**third.kafka}).list_topics(timeout=20)
    assert await asyncio.to_thread(cli, ["agents", "revoke", name, "--data-dir", str(settings.data_dir)]) == 0
    for far in (first, second, third):
        await asyncio.to_thread(assert_eventually, lambda far=far: shut_out(far))
    fourth = await issued(settings, name, tmp_path / "4")
    AdminClient({**fourth.kafka}).list_topics(timeout=20)


async def test_a_removed_agent_loses_its_login(settings: Settings, tmp_path: Path) -> None:
    """Its password is no longer one, and a connection that it has open may do nothing. A key that is issued again lets
    it in again."""
    agent = Agent(own("leaving"), workflows=[own("w")])

    @agent.on("run.started")
    async def handle(ctx: Context, event: Event) -> None:
        del ctx, event

    far = await issued(settings, agent.name, tmp_path / "own.key")
    async with running(far, agent):
        pass
    inside = Producer({**far.kafka, "message.timeout.ms": 8000})
    assert inside.list_topics(timeout=20).topics.keys() >= {COMMANDS}
    assert await asyncio.to_thread(cli, ["agents", "remove", agent.name, "--data-dir", str(settings.data_dir)]) == 0
    await asyncio.to_thread(assert_eventually, lambda: shut_out(far))

    def still_inside() -> None:
        assert COMMANDS not in inside.list_topics(timeout=20).topics

    await asyncio.to_thread(assert_eventually, still_inside)
    again = await issued(settings, agent.name, tmp_path / "own.key")
    async with running(again, agent):
        pass


def test_rules_are_made_once(settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`backplane topics acls --apply` makes the rules that are missing, as Kafka itself then says, and no others."""
    where = ["--data-dir", str(settings.data_dir)]
    name, admin = own("ruled"), connect(settings)

    def applied(*words: str) -> str:
        capsys.readouterr()
        assert cli(["topics", "acls", "--apply", *words, *where]) == 0
        return capsys.readouterr().err

    def known(user: str) -> set[tuple[object, ...]]:
        return set(map(acls._key, admin.describe_acls(acls._all_of(user)).result(20)))

    assert "nothing to do" in applied()
    for user in ("bp.ledger", "bp.executor", "bp.sink"):
        assert known(user) == {acls._key(acls._binding(each)) for each in acls.acls() if each.user == user}
    assert not known(name)
    assert f"{len(acls.agent_acls(name))} changes made" in applied("--agent", name)
    assert "nothing to do" in applied("--agent", name)
    assert known(name) == {acls._key(acls._binding(each)) for each in acls.agent_acls(name)}
    acls.remove(settings, name)
    assert_eventually(lambda: None if not known(name) else pytest.fail("still there"))
