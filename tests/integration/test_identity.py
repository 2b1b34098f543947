"""Whose commands the ledger takes, on real servers: forged, copied, unsigned and revoked ones are refused."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agents_sdk import (
    AsyncBackplane,
    Forged,
    KeyRevoked,
    Settings,
    StaleCommand,
    Unauthenticated,
    Unreachable,
    load_settings,
)
from agents_sdk.core.commands import StateBody
from agents_sdk.core.facts import RefusalEvent
from agents_sdk.core.partition import partition_of
from agents_sdk.history import read_commands, read_run, read_topic
from agents_sdk.keys import Keys, make_master
from agents_sdk.scope import new_id
from agents_sdk.settings_model import Identity
from agents_sdk.signer import Signer
from agents_sdk.topics import COMMANDS, REFUSALS, RUNS
from agents_sdk.wire.registry import connect_codec
from backplane.cli.app import run as cli
from backplane.platform.platform import LocalPlatform
from backplane.replay.recorded import replay_run
from backplane.runtime import clients
from backplane.runtime.log import read_range
from tests.support.chaos.log import read
from tests.support.eventually import assert_eventually, assert_soon
from tests.support.ledgers import LedgerProcess, put

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
async def backplane(settings: Settings) -> AsyncIterator[AsyncBackplane]:
    async with AsyncBackplane.connect(settings, name="honest") as connected:
        # known to the platform from here on, so that what it says later comes alone
        await (await connected.start_run("introduced", complete_when="explicit")).complete()
        yield connected


def with_identity(settings: Settings, **identity: Any) -> Settings:
    """The same platform, as somebody with these files sees it."""
    return settings.model_copy(update={"identity": Identity(**identity)})


def told(capsys: pytest.CaptureFixture[str], platform: LocalPlatform, *words: str) -> Any:
    """What a command prints, as JSON."""
    assert cli([*words, "--data-dir", str(platform.layout.data_dir)]) == 0, capsys.readouterr().err
    printed = capsys.readouterr().out
    return json.loads(printed) if printed else None


def standing(capsys: pytest.CaptureFixture[str], platform: LocalPlatform, name: str) -> dict[str, Any]:
    rows = told(capsys, platform, "agents", "list", "--json")
    return next((row for row in rows if row["name"] == name), {})


async def test_a_new_client_is_introduced_before_its_first_command(settings: Settings) -> None:
    """Once: nothing that it says is refused and said again, and no later process introduces it anew."""
    name = f"new-{new_id()[-12:]}"
    for number in range(2):
        async with AsyncBackplane.connect(settings, name=name) as connected:
            runs = [connected.start_run("met", complete_when="explicit") for _ in range(20)]
            for run in await asyncio.gather(*runs):
                await run.complete()
        codec = connect_codec(settings)
        lying = await asyncio.to_thread(read, settings, [REFUSALS, COMMANDS])
        # others write what is no record to the same topics
        ours = [one for one in lying if name.encode() in (one.value or b"")]
        said: list[Any] = [codec.decode(one.value) for one in ours]
        assert [one for one in said if isinstance(one, RefusalEvent)] == [], number
        assert sum(one.kind == "GrantRights" for one in said) == settings.topics.partitions
        assert sum(one.kind == "StartRun" for one in said) == 20 * (number + 1)


async def test_nobody_notices_on_a_local_platform(backplane: AsyncBackplane, settings: Settings) -> None:
    """Keys are there without a word, for their owner only, and every command in the log is signed."""
    run = await backplane.start_run("quiet", complete_when="explicit", state={"a": 1})
    await run.complete()
    folder = settings.identity.keys_dir
    assert folder is not None
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.iterdir())}
    assert (modes.pop("keys"), set(modes.values())) == (0o700, {0o600})
    assert {"master", "honest.key"} <= modes.keys()
    found = await asyncio.to_thread(read_commands, settings, connect_codec(settings), run.id)
    assert {(len(command.signature), command.key_generation) for _, _, command, _ in found} == {(32, 1)}


@pytest.mark.parametrize(("master", "refusal"), [(False, Unauthenticated), (True, Forged)])
async def test_stranger_changes_nothing(
    backplane: AsyncBackplane, settings: Settings, tmp_path: Path, master: bool, refusal: type[Exception]
) -> None:
    """Who has no key, or one of another platform, is refused whatever it says, and the run goes on as it was."""
    run = await backplane.start_run("guarded", complete_when="explicit", state={"a": 1})
    identity = {"keys_dir": tmp_path, "master_file": make_master(tmp_path)} if master else {}
    async with AsyncBackplane.connect(with_identity(settings, **identity), name="honest") as stranger:
        theirs = stranger.run(run.id)
        with pytest.raises(refusal):
            await theirs.state.set("a", 2)
        with pytest.raises(refusal):
            await theirs.cancel("no")
    assert await run.state.get("a") == 1
    await run.complete()
    verdict = await asyncio.to_thread(replay_run, settings, connect_codec(settings), run.id)
    assert verdict.identical, verdict.difference
    unkeyed = await asyncio.to_thread(replay_run, with_identity(settings), connect_codec(settings), run.id)
    assert unkeyed.identical, unkeyed.difference
    assert verdict.recorded_state_hash == unkeyed.recorded_state_hash


async def test_copied_record_is_applied_once_and_refused_when_it_is_old(
    backplane: AsyncBackplane, settings: Settings
) -> None:
    """A copy of a signed record is answered as the first time; signed an hour ago, it is refused for its age."""
    run = await backplane.start_run("copied", complete_when="explicit")
    await run.state.set("n", 1)
    await run.state.set("n", 2)
    codec = connect_codec(settings)
    raw = await asyncio.to_thread(_raw_commands, settings, run.id)
    await asyncio.to_thread(put, settings, [{"key": run.id.encode(), "value": value} for value in raw])
    scope = backplane.scope(run.id)
    old = Signer(codec, Keys.of(settings), lambda: 1_767_261_600.0)
    command = scope.command("SetState", StateBody(key="n", value="9"))
    await asyncio.to_thread(put, settings, [{"key": run.id.encode(), "value": old.encode(command)}])
    assert await run.state.get("n") == 2
    await run.complete()
    facts = await asyncio.to_thread(read_run, settings, codec, run.id, until_ended_s=10)
    assert [fact.kind for fact in facts].count("StateWritten") == 2
    assert [(fact.code, fact.command_id) for fact in facts if isinstance(fact, RefusalEvent)] == [
        ("stale", command.command_id)
    ]


async def test_record_copied_to_another_partition_is_refused_there_and_counted(
    backplane: AsyncBackplane, platform: LocalPlatform, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """A signed start, minutes old at most, is nothing but a refusal where its run does not belong; the run goes on."""
    run = await backplane.start_run("copied", complete_when="explicit")
    await run.state.set("n", 1)
    (start, write) = await asyncio.to_thread(_raw_commands, settings, run.id)
    here = partition_of(run.id, settings.topics.partitions)
    others = [number for number in range(settings.topics.partitions) if number != here]
    key = run.id.encode()
    copies = [{"key": key, "value": value, "partition": other} for other in others for value in (start, write)]
    status = await asyncio.to_thread(told, capsys, platform, "status", "--json")
    before = status["refused"].get("misplaced", 0)
    await asyncio.to_thread(put, settings, copies)

    def refused() -> None:
        status = told(capsys, platform, "status", "--json")
        assert status["refused"].get("misplaced", 0) == before + len(copies)
        assert f"misplaced {len(copies)}" in standing(capsys, platform, "honest")["refused"]

    await asyncio.to_thread(assert_eventually, refused, 20)
    codec = connect_codec(settings)
    started = await asyncio.to_thread(read_topic, settings, codec, RUNS)
    where = {number for number, facts in started.items() for fact in facts if fact.run_id == run.id}
    assert where == {here}
    assert await run.state.get("n") == 1
    await run.complete()
    verdict = await asyncio.to_thread(replay_run, settings, codec, run.id)
    assert verdict.identical, verdict.difference


async def test_key_is_rotated_under_a_process_that_lives(
    platform: LocalPlatform, settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file is written anew and the old key valid no longer: the process goes on without a restart."""

    async def operate(*words: str) -> None:
        await asyncio.to_thread(told, capsys, platform, "agents", *words)

    path = tmp_path / "living.key"
    await operate("issue", "living", "--role", "operator", "--out", str(path))
    async with AsyncBackplane.connect(with_identity(settings, key_file=path), name="living") as client:
        run = await client.start_run("far", complete_when="explicit")
        await operate("rotate", "living", "--grace-seconds", "0", "--out", str(path))

        async def speaks() -> None:
            try:
                await run.state.set("n", 1)
            except KeyRevoked as revoked:
                raise AssertionError from revoked

        await assert_soon(speaks, 20)
        await run.complete()
    found = await asyncio.to_thread(read_commands, settings, connect_codec(settings), run.id)
    assert found[-1][2].key_generation == 2


def _raw_commands(settings: Settings, run_id: str) -> list[bytes]:
    consumer = clients.reader(settings.kafka)
    try:
        return [
            message.value() or b""
            for partition in range(settings.topics.partitions)
            for message in read_range(consumer, COMMANDS, partition, 0, 1 << 40)
            if message.key() == run_id.encode()
        ]
    finally:
        consumer.close()


async def test_wrong_clock_is_told_by_how_much(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent whose clock is ten minutes slow learns that, and by how much."""
    async with AsyncBackplane.connect(settings, name="late") as late:
        late.transport.signer = Signer(late.transport.codec, Keys.of(settings), lambda: _now() - 600)
        with pytest.raises(StaleCommand, match=r"60\d\.\d s behind"):
            await late.start_run("late")


def _now() -> float:
    import time

    return time.time()


async def test_key_is_issued_rotated_and_revoked(
    platform: LocalPlatform, settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As an operator does it for a process that cannot read the master key; nothing of a key is printed."""

    async def may(path: Path) -> bool:
        async with AsyncBackplane.connect(with_identity(settings, key_file=path), name="far_away") as client:
            try:
                await (await client.start_run("far", complete_when="explicit")).complete()
            except KeyRevoked:
                return False
            return True

    async def operate(*words: str) -> None:
        await asyncio.to_thread(told, capsys, platform, "agents", *words)

    one, two, three = (tmp_path / name for name in ("one", "two", "three"))
    await operate("issue", "far_away", "--role", "operator", "--out", str(one))
    assert await may(one)
    await operate("rotate", "far_away", "--out", str(two))
    assert (await may(one), await may(two)) == (True, True)
    assert (await asyncio.to_thread(standing, capsys, platform, "far_away"))["key"] == "rotating"
    await operate("revoke", "far_away")
    assert (await may(one), await may(two)) == (False, False)
    await operate("issue", "far_away", "--out", str(three))
    assert (await may(one), await may(two), await may(three)) == (False, False, True)

    def counted() -> None:
        row = standing(capsys, platform, "far_away")
        assert (row["is"], row["generation"], row["key"], row["refused"]) == ("client", 3, "valid", "revoked 4")

    await asyncio.to_thread(assert_eventually, counted, 10)


def test_operators_work_needs_the_master_key(
    platform: LocalPlatform, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Elsewhere the commands say so, and do nothing."""
    monkeypatch.setenv("BACKPLANE_KAFKA__BOOTSTRAP_SERVERS", platform.settings.kafka["bootstrap.servers"])
    monkeypatch.setenv("BACKPLANE_REGISTRY__URL", platform.settings.registry.url)
    for words in (
        ["issue", "x", "--out", "/nonexistent/x"],
        ["rotate", "x", "--out", "/nonexistent/x"],
        ["revoke", "x"],
    ):
        assert cli(["agents", *words, "--data-dir", str(platform.layout.data_dir)]) == 4
        assert "master key" in capsys.readouterr().err


def test_ledger_without_its_master_key_lets_nobody_in(platform: LocalPlatform, settings: Settings) -> None:
    """Where the log says that identity is required, a ledger that cannot check it stops instead of letting all in."""
    assert settings.identity.master_file is not None
    lonely = load_settings(
        data_dir=platform.layout.data_dir, kafka=settings.kafka, registry=settings.registry, limits=settings.limits
    )
    assert lonely.identity.master_file is None
    pid = platform.pid("ledger")
    keyless = LedgerProcess(lonely).start()
    try:
        assert_eventually(lambda: _ended(keyless), 60)
        assert "takes only signed commands" in keyless.log.read_text()
    finally:
        keyless.end()
    assert platform.pid("ledger") == pid


def _ended(process: LedgerProcess) -> None:
    assert not process.running()


async def test_unreachable_is_not_unauthenticated(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing about keys is asked before there is a platform."""
    for module in ("agents_sdk.transport", "agents_sdk.wire.topics_admin"):
        monkeypatch.setattr(f"{module}.TIMEOUT_S", 1.0)
    nowhere = settings.model_copy(update={"kafka": {"bootstrap.servers": "127.0.0.1:1"}})
    with pytest.raises(Unreachable):
        async with AsyncBackplane.connect(nowhere):
            pass
