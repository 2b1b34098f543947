"""Whatever Kafka takes as a record of bp.commands, or of a fact topic: the ledger refuses it and goes on.

The same process at the end as at the beginning, and a run in every partition that is answered after each batch.
"""

# long because: what Kafka takes is tried in one place, on one ledger

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from agents_sdk import Agent, AsyncBackplane, Context, Event, Settings
from agents_sdk.core.commands import Command, RunBody, SkipBody, StateBody
from agents_sdk.core.facts import RefusalEvent
from agents_sdk.core.ids import CommandId, RunId
from agents_sdk.core.partition import partition_of
from agents_sdk.keys import Keys
from agents_sdk.scope import new_id
from agents_sdk.settings import load_settings
from agents_sdk.signer import Signer
from agents_sdk.topics import COMMANDS, REFUSALS, RUNS, STATE, dead_letter, inbox
from agents_sdk.wire.codec import Codec
from agents_sdk.wire.dead_letters import DeadLetter, read_dead_letter
from agents_sdk.wire.registry import connect_codec
from agents_sdk.wire.topics_admin import connect, ensure_inbox
from backplane.platform.platform import LocalPlatform
from tests.support.chaos.log import EncodedRecord, read
from tests.support.deadly_ledger import DEADLY
from tests.support.eventually import assert_eventually, assert_soon
from tests.support.ledgers import LedgerProcess, put
from tests.support.live_agents import own, running
from tests.support.prepared import Prepared
from tests.support.raw_records import CODECS, Raw, RawProducer, batch

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
PARTITIONS: Final = 4


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory, prepared: Prepared) -> Iterator[LocalPlatform]:
    """Kafka and the registry, with topics and schemas, and nobody who decides."""
    with LocalPlatform(
        prepared.copy(tmp_path_factory.mktemp("any-record")), parts=("kafka", "registry", "topics")
    ) as running:
        yield running


@pytest.fixture(scope="module")
def settings(servers: LocalPlatform) -> Settings:
    found = servers.settings
    sections = {"kafka": found.kafka, "registry": found.registry, "identity": found.identity}
    return load_settings(data_dir=servers.layout.data_dir, **sections)


@pytest.fixture(scope="module")
def codec(settings: Settings) -> Codec:
    return connect_codec(settings)


@pytest.fixture(scope="module")
def ledger(settings: Settings) -> Iterator[LedgerProcess]:
    with LedgerProcess(settings) as running:
        yield running


@pytest.fixture
async def backplane(settings: Settings, ledger: LedgerProcess) -> AsyncIterator[AsyncBackplane]:
    """A connection; the ledger is the same process after the test as before it."""
    process = ledger.process
    async with AsyncBackplane.connect(settings, name="tester") as opened:
        yield opened
    assert ledger.process is process
    assert ledger.running(), ledger.log.read_text()[-3000:]


@pytest.fixture
def raw(settings: Settings) -> Iterator[RawProducer]:
    producer = RawProducer(settings.kafka)
    yield producer
    producer.close()


async def canary(backplane: AsyncBackplane) -> None:
    """Runs in all partitions are started, written to and ended."""

    async def one() -> None:
        run = await backplane.start_run("canary", complete_when="explicit")
        assert await run.state.set("k", 1) == 1
        await run.complete()

    await asyncio.wait_for(asyncio.gather(*(one() for _ in range(4 * PARTITIONS))), 60)


def letters(settings: Settings, places: list[tuple[int, int]]) -> list[tuple[EncodedRecord, DeadLetter]]:
    """The dead letters of the commands at these places, in that order."""

    def look() -> list[tuple[EncodedRecord, DeadLetter]]:
        found: dict[tuple[int, int], tuple[EncodedRecord, DeadLetter]] = {}
        for one in read(settings, [dead_letter(COMMANDS)]):
            letter = read_dead_letter(one.headers)
            assert letter is not None
            found[letter.partition, letter.offset] = one, letter
        assert set(places) <= set(found)
        return [found[place] for place in places]

    return assert_eventually(look, 60)


def refusals(settings: Settings, codec: Codec) -> dict[tuple[int, int], RefusalEvent]:
    """Place of a command → its refusal."""
    found = [(one.partition, codec.decode(one.value)) for one in read(settings, [REFUSALS])]
    return {(part, fact.command_offset): fact for part, fact in found if isinstance(fact, RefusalEvent)}


def command(kind: str = "SetState", **fields: Any) -> Command:
    """A command written by hand, with nobody to answer to."""
    given = {"command_id": new_id(), "run_id": new_id(), "agent": "tester", "correlation_id": "c"}
    return Command(kind=kind, **{**given, **fields})


def bomb(codec: str) -> bytes:
    """300 MB, once they are inflated."""
    return batch([Raw(b"k", b"\0" * 150_000_000)] * 2, codec)


HOSTILE: Final[dict[str, Callable[[], bytes]]] = {
    "a header's name that is not UTF-8": lambda: batch([Raw(b"k", b"v", [(b"\xff\xfe", b"x")]), Raw(b"k", b"v")]),
    "a NUL in a header's name, and no name": lambda: batch([Raw(b"k", b"v", [(b"a\0b", b"x"), (b"", None)])]),
    "100,000 headers": lambda: batch([Raw(b"k", b"v", [(b"h", b"")] * 100_000)]),
    "headers of 900 kB": lambda: batch([Raw(b"k", b"v", [(b"h", b"x" * 900_000)])]),
    "no key and no value": lambda: batch([Raw(None, None), Raw(b"", b"")]),
    "a time before 1970": lambda: batch([Raw(None, b"x")], first_ms=-1),
    "a time long before 1970": lambda: batch([Raw(None, b"x")], first_ms=-(2**62)),
    "a key of 1 MB": lambda: batch([Raw(b"\xff" * 1_000_000, b"x")]),
    "a value of 2 MB": lambda: batch([Raw(b"k", b"\0" * 2_000_000)]),
    **{f"a bomb in {codec}": partial(bomb, codec) for codec in ("gzip", "lz4", "zstd")},
    **{f"another client's {codec}": partial(batch, [Raw(b"k", b"v"), Raw(b"k", b"v")], codec) for codec in CODECS},
}


@cache
def hostile(what: str) -> bytes:
    """Made when it is sent: a bomb takes a second, and each process of the tests collects all of them."""
    return HOSTILE[what]()


@pytest.mark.parametrize("what", HOSTILE)
async def test_record_that_kafka_takes_is_refused_and_the_next_one_is_decided(
    what: str, backplane: AsyncBackplane, settings: Settings, codec: Codec, raw: RawProducer
) -> None:
    """In every partition; each batch leaves a refusal and a dead letter, and the ledger lives."""
    places = []
    for partition in range(PARTITIONS):
        offset = await asyncio.to_thread(raw.send, COMMANDS, partition, hostile(what))
        places.append((partition, offset + (1 if "bomb" in what else 0)))
    await canary(backplane)
    found = await asyncio.to_thread(letters, settings, places)
    assert [letter.stage for _, letter in found] == ["decode"] * PARTITIONS
    known = await asyncio.to_thread(refusals, settings, codec)
    assert {known[place].code for place in places} <= {"undecodable", "unknown_schema"}


async def test_thousands_of_unknown_schema_ids_hold_nobody_up(
    backplane: AsyncBackplane, settings: Settings, raw: RawProducer
) -> None:
    """1,000 records in each partition, an id each. ``tests/unit/wire/test_foreign_schemas.py`` counts the readings."""
    for partition in range(PARTITIONS):
        records = [Raw(b"k", b"\0" + (1_000_000 + number).to_bytes(4, "big") + b"x") for number in range(1_000)]
        await asyncio.to_thread(raw.send, COMMANDS, partition, batch(records, "lz4"))
    await canary(backplane)


async def test_command_too_large_for_its_refusal_or_letter_is_refused_shortly(
    backplane: AsyncBackplane, settings: Settings, codec: Codec, raw: RawProducer
) -> None:
    """A well-formed command of 4 MB, compressed to fit: its letter names the place where it lies."""
    signer = Signer(codec, Keys.of(settings))
    large = command(state=StateBody(key="k" * 3_500_000, value='"' + "x" * 500_000 + '"'), correlation_id="c" * 100_000)
    for value in (codec.encode(large), signer.encode(large)):
        offset = await asyncio.to_thread(raw.send, COMMANDS, 0, batch([Raw(b"k", value)], "lz4"))
        await canary(backplane)
        ((one, letter),) = await asyncio.to_thread(letters, settings, [(0, offset)])
        assert (letter.topic, letter.partition, letter.offset) == (COMMANDS, 0, offset)
        assert not one.value
        assert f"at offset {offset}" in letter.message


async def test_foreign_record_in_a_fact_topic_stops_neither_the_ledger_nor_its_next_start(
    settings: Settings, codec: Codec, backplane: AsyncBackplane, ledger: LedgerProcess, raw: RawProducer
) -> None:
    """Bytes, another topic's record, a fact of the far future, a batch that cannot be inflated: all are passed over by
    the ledger that takes the partition over, and it says so."""
    refusal = RefusalEvent(
        event_id=new_id(),
        kind="CommandRefused",
        run_id=RunId(""),
        run_seq=0,
        correlation_id="",
        causation_id="",
        agent="",
        at=0,
        command_id=CommandId("x"),
        command_offset=2**62,
        command_kind="",
        code="x",
        message="forged",
    )
    ghost = msgspec.structs.replace(refusal, run_id=new_id(), run_seq=7, command_offset=0)
    for partition in range(PARTITIONS):
        for topic, value in (
            (RUNS, b"nonsense"),
            (STATE, codec.encode(refusal)),
            (REFUSALS, codec.encode(refusal)),
            (REFUSALS, codec.encode(ghost)),
        ):
            await asyncio.to_thread(raw.send, topic, partition, batch([Raw(b"k", value)]))
        for what in ("a bomb in zstd", "a header's name that is not UTF-8", "no key and no value"):
            await asyncio.to_thread(raw.send, RUNS, partition, hostile(what))
    await canary(backplane)
    with LedgerProcess(settings) as second:
        second.wait_until_ready()
        await asyncio.to_thread(assert_eventually, lambda: _shares(second), 60)
        await canary(backplane)
        said = second.health()
        assert "passed over" in str(said["notices"])
        assert f"{RUNS}[" in str(said["notices"])
        assert second.running()


@pytest.mark.parametrize("codec_name", ["gzip", "zstd"])
async def test_a_bomb_that_was_the_last_command_costs_a_takeover_no_memory(
    codec_name: str, settings: Settings, ledger: LedgerProcess, raw: RawProducer
) -> None:
    """Who takes a partition over looks at the last command that was decided; it reads it within its bounds."""
    places = []
    for partition in range(PARTITIONS):
        made = hostile(f"a bomb in {codec_name}")
        places.append((partition, await asyncio.to_thread(raw.send, COMMANDS, partition, made) + 1))
    await asyncio.to_thread(letters, settings, places)
    with LedgerProcess(settings) as second:
        second.wait_until_ready()
        await asyncio.to_thread(assert_eventually, lambda: _shares(second), 60)
        assert second.process is not None
        assert most_kb(second.process.pid) < 400_000  # its own bound, for two partitions at a time


def most_kb(pid: int) -> int:
    """The most memory that a process had resident at any time."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1])


def _shares(worker: LedgerProcess) -> None:
    assert len(worker.partitions()) > 0


def greeter(name: str, workflow: str) -> Agent:
    agent = Agent(name, workflows=[workflow], controls=[workflow])

    @agent.on("run.started")
    async def hello(ctx: Context, event: Event) -> None:
        await ctx.complete_run("hello")

    return agent


async def greeted(backplane: AsyncBackplane, workflow: str, run_id: str | None = None) -> None:
    run = await backplane.start_run(workflow, complete_when="explicit", run_id=run_id)
    assert (await run.wait(60)).result == "hello"


async def test_inbox_that_is_gone_costs_its_deliveries_alone(
    settings: Settings, backplane: AsyncBackplane, ledger: LedgerProcess
) -> None:
    """The topic of a registered agent's inbox is deleted: what is sent to it is a dead letter that names the mend, and
    other runs go on. The agent that starts again makes its inbox, and is sent what comes from then on."""
    name, workflow = own("gone"), own("w")
    async with running(settings, greeter(name, workflow)):
        for number in range(PARTITIONS):
            await greeted(backplane, workflow, _lying_in(number))
    await asyncio.to_thread(_deleted, settings, inbox(name))
    # the writers have just seen the topic: their transactions fail in the middle, and nothing else comes
    for number in range(PARTITIONS):
        await backplane.start_run(workflow, complete_when="explicit", run_id=_lying_in(number))

    def buried() -> None:
        found = [read_dead_letter(one.headers) for one in read(settings, [dead_letter(inbox(name))])]
        undelivered = [letter for letter in found if letter is not None and letter.topic == inbox(name)]
        assert [letter.stage for letter in undelivered] == ["deliver"] * PARTITIONS

    await asyncio.to_thread(assert_eventually, buried, limit_s=60)
    await canary(backplane)
    notices = (await asyncio.to_thread(ledger.health))["notices"]
    assert any(inbox(name) in notice["what"] for notice in notices)
    async with running(settings, greeter(name, workflow)):
        await greeted(backplane, workflow)


async def test_inbox_that_is_made_anew_under_its_agent_is_read_on(
    settings: Settings, backplane: AsyncBackplane
) -> None:
    """Its offsets begin again at 0, below what the agent has read: what comes is handled all the same."""
    name, workflow = own("anew"), own("w")
    async with running(settings, greeter(name, workflow)):
        for number in range(3 * PARTITIONS):
            await greeted(backplane, workflow, _lying_in(number % PARTITIONS))
        await asyncio.to_thread(_deleted, settings, inbox(name))
        await asyncio.to_thread(ensure_inbox, settings, name)
        for number in range(PARTITIONS):
            await greeted(backplane, workflow, _lying_in(number))


def _lying_in(partition: int) -> str:
    """A new run's id whose facts lie in this partition."""
    return next(one for one in iter(new_id, "") if partition_of(one, PARTITIONS) == partition)


def _deleted(settings: Settings, topic: str) -> None:
    admin = connect(settings)
    admin.delete_topics([topic])[topic].result(30)
    assert_eventually(lambda: _absent(settings, topic))


def _absent(settings: Settings, topic: str) -> None:
    assert topic not in connect(settings).list_topics(timeout=10).topics


async def test_record_that_kills_its_worker_is_put_aside_and_skipped_by_an_operator(
    settings: Settings, codec: Codec, ledger: LedgerProcess, raw: RawProducer
) -> None:
    """A worker that is killed at a record twice puts the partition aside: others go on, it says so, a start more does
    not try again; an operator's word brings it back, and what waited behind the record is decided."""
    ledger.end()
    deadly = LedgerProcess(settings, module="tests.support.deadly_ledger")
    try:
        deadly.start()
        deadly.wait_until_ready(PARTITIONS)
        async with AsyncBackplane.connect(settings, name="tester") as backplane:
            await canary(backplane)
            offset = await asyncio.to_thread(raw.send, COMMANDS, 1, batch([Raw(b"k", DEADLY)]))
            for _ in range(2):
                assert deadly.process is not None
                await asyncio.to_thread(deadly.process.wait, 60)
                deadly.start()
            deadly.wait_until_ready(PARTITIONS)
            aside = await assert_soon(lambda: _aside(deadly, offset), 30)
            assert "2 workers died" in aside["why"]
            await _others_go_on(backplane, settings)
            assert deadly.end(signal.SIGTERM) == 0
            with LedgerProcess(settings, module="tests.support.deadly_ledger") as moved:  # it knows from the log
                await assert_soon(lambda: _aside(moved, offset), 30)
            deadly.start()
            deadly.wait_until_ready(PARTITIONS)
            await assert_soon(lambda: _aside(deadly, offset), 30)
            signer = Signer(codec, Keys.of(settings))
            skip = SkipBody(partition=1, offset=offset, reason="x")
            forged = command("SkipRecord", run_id="", agent="tester", skip=skip)
            await asyncio.to_thread(put, settings, [{"value": signer.encode(forged), "partition": 1}])
            done = await asyncio.to_thread(_skip, settings, offset)
            assert (done.returncode, "goes on" in done.stderr) == (0, True), done.stderr
            await canary(backplane)
            assert deadly.health()["aside"] == {}
        known = await asyncio.to_thread(refusals, settings, codec)
        assert (known[1, offset].code, known[1, offset].said) == ("skipped", "it kills")
        told = [
            one for one in await asyncio.to_thread(read, settings, [REFUSALS]) if b"is put aside" in (one.value or b"")
        ]
        assert len(told) == 1, "however many workers take the partition over"
        ((_, letter),) = await asyncio.to_thread(letters, settings, [(1, offset)])
        assert letter.stage == "skip"
        assert deadly.running()
    finally:
        deadly.end()
        ledger.start()
        ledger.wait_until_ready()


def _skip(settings: Settings, offset: int) -> subprocess.CompletedProcess[str]:
    """As an operator does it."""
    given = ["ledger", "skip", "1", str(offset), "--reason", "it kills", "--data-dir", str(settings.data_dir)]
    return subprocess.run(
        [sys.executable, "-m", "backplane.cli.app", *given], capture_output=True, text=True, check=False
    )


async def _aside(worker: LedgerProcess, offset: int) -> dict[str, Any]:
    said: dict[str, Any] = (await asyncio.to_thread(worker.health)).get("aside", {})
    assert said.get("1", {}).get("offset") == offset, said
    place: dict[str, Any] = said["1"]
    async with httpx.AsyncClient() as client:
        metrics = (await client.get(f"http://127.0.0.1:{worker.port}/metrics", timeout=5)).text
    assert "backplane_partitions_put_aside 1.0" in metrics
    return place


async def _others_go_on(backplane: AsyncBackplane, settings: Settings) -> None:

    ids = [run_id for run_id in (new_id() for _ in range(64)) if partition_of(run_id, PARTITIONS) != 1]
    for run_id in ids[:8]:
        run = await backplane.start_run("canary", run_id=run_id, complete_when="explicit")
        await asyncio.wait_for(run.complete(), 30)


def test_nobody_can_leave_a_transaction_open_for_long(settings: Settings) -> None:
    """An open transaction holds all readers of its partitions back: the broker gives none more than a minute."""
    options = {"transactional.id": "slow", "transaction.timeout.ms": 61_000, "log_level": 0}
    producer = Producer({**settings.kafka, **options})
    with pytest.raises(KafkaException) as refused:
        producer.init_transactions(30)
    assert refused.value.args[0].code() == KafkaError.INVALID_TRANSACTION_TIMEOUT


async def test_aborted_transactions_and_their_markers_are_passed_over(
    settings: Settings, backplane: AsyncBackplane
) -> None:
    """Of other clients, in the middle of bp.commands."""

    def aborted() -> None:
        producer = Producer({**settings.kafka, "transactional.id": f"odd-{new_id()}"})
        producer.init_transactions(30)
        for end in (producer.abort_transaction, producer.commit_transaction, producer.abort_transaction):
            producer.begin_transaction()
            for partition in range(PARTITIONS):
                producer.produce(COMMANDS, b"nonsense", b"k", partition)
            producer.flush(30)
            end(30)

    await asyncio.to_thread(aborted)
    await canary(backplane)


async def test_command_that_is_sent_about_no_run_and_every_kind_of_body(
    backplane: AsyncBackplane, settings: Settings, codec: Codec
) -> None:
    """A command whose body is another kind's is refused, not raised."""
    odd = [command(kind, run=RunBody(workflow="w")) for kind in ("SetState", "SkipRecord", "StartRun", "NoSuchKind")]
    values = []
    for one in odd:
        try:
            values.append(codec.encode(one))
        except (TypeError, ValueError):
            continue
    await asyncio.to_thread(put, settings, [{"value": value, "partition": 2} for value in values])
    await canary(backplane)
