"""What a newcomer does first, as the README says it; and what then lies in Kafka, as the contracts say it."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest

from agents_sdk.core.commands import Command
from agents_sdk.core.facts import Fact, Reply
from agents_sdk.core.ids import CommandId
from agents_sdk.topics import COMMANDS, FACT_TOPICS, REPLIES
from agents_sdk.wire import headers
from agents_sdk.wire.codec import Undecodable
from agents_sdk.wire.registry import connect_codec
from agents_sdk.wire.topic_files import find
from backplane.cli.app import run
from backplane.cli.output import ExitCode
from backplane.platform.child import Child
from tests.support.chaos.log import EncodedRecord, read
from tests.support.eventually import assert_eventually

if TYPE_CHECKING:
    from backplane.platform.platform import LocalPlatform

README: Final = (Path(__file__).parents[2] / "README.md").read_text()


def test_the_agent_of_the_readme_runs_as_it_stands_there(
    platform: LocalPlatform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its file, its command line, its run; and the value that it promises."""
    monkeypatch.setenv("BACKPLANE_DATA_DIR", str(platform.layout.data_dir))
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (workflow, given) = re.findall(r"backplane start (\S+) --input '(.*?)' --wait", README)[0]
    (tmp_path / "hello.py").write_text(code)
    command = [sys.executable, "-m", "backplane.cli.app", "agents", "run", str(tmp_path / "hello.py")]
    command += ["--trust"]  # the platform is shared: other tests may have declared agents of these names
    agents = Child(command, os.environ, tmp_path / "agents.log")
    try:
        assert_eventually(lambda: ready(agents))
        assert run(["start", workflow, "--input", given, "--wait", "--json"]) == ExitCode.OK, agents.tail(20)
        outcome = json.loads(capsys.readouterr().out)
    finally:
        agents.send(signal.SIGTERM)
        assert_eventually(lambda: ended(agents))
    assert outcome["status"] == "completed"
    assert run(["state", "get", outcome["run_id"], "summary", "--json"]) == ExitCode.OK
    assert " · " in json.loads(capsys.readouterr().out)["value"]


def ready(agents: Child) -> None:
    assert any("ready" in line for line in agents.tail(5))


def ended(agents: Child) -> None:
    assert agents.exit_reason() is not None


def described(one: EncodedRecord, record: Any) -> None:
    """The record has the headers of ``agents_sdk.wire.headers``, each once."""
    kinds: dict[type, Callable[[Any], list[tuple[str, bytes]]]]
    kinds = {Command: headers.command_headers, Reply: headers.reply_headers}
    made = kinds.get(type(record), headers.fact_headers)
    assert headers.text(made(record)).items() <= headers.text(one.headers).items()
    assert len(headers.text(one.headers)) == len(one.headers), "no header twice"


def test_records_in_kafka_are_as_the_contracts_say(platform: LocalPlatform, capsys: pytest.CaptureFixture[str]) -> None:
    """Of one call, everything that client, ledger and executor have written is its topic's record, under the topic's
    key and in Confluent's wire format; all but answers have their headers."""
    assert run(["call", "echo", "--json", "--data-dir", str(platform.layout.data_dir)]) == ExitCode.OK
    run_id = json.loads(capsys.readouterr().out)["run_id"]
    codec = connect_codec(platform.settings)
    commands, seen, with_headers = set(), set(), set()
    for one in read(platform.settings, [COMMANDS, *FACT_TOPICS, REPLIES]):
        try:
            record = codec.decode(one.value)
        except Undecodable:
            continue  # other tests of this platform write such commands
        if isinstance(record, Command | Fact) and record.run_id == run_id:
            commands.add(record.command_id)
        elif not isinstance(record, Reply) or record.command_id not in commands:
            continue
        file = find(one.topic)
        assert type(record).__name__ == file.record
        assert one.key == getattr(record, file.key).encode()
        assert one.value is not None
        assert one.value[0] == 0
        if not isinstance(record, Reply):
            described(one, record)
            with_headers.add(one.topic)
        seen.add(one.topic)
    assert {COMMANDS, "bp.runs", "bp.calls", "bp.attempts", REPLIES} <= seen
    assert {COMMANDS, "bp.runs", "bp.calls", "bp.attempts"} <= with_headers


def test_the_check_of_headers_can_fail() -> None:
    """A header of another record is found."""
    reply = Reply(command_id=CommandId("c"), reply_to="me", status="ok")
    lying = EncodedRecord(REPLIES, 0, 0, 0, b"me", b"", headers.reply_headers(reply))
    described(lying, reply)
    for wrong in (msgspec.structs.replace(reply, reply_to="you"), msgspec.structs.replace(reply, command_id="d")):
        with pytest.raises(AssertionError):
            described(lying, wrong)
