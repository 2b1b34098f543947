"""The same services and commands on servers that somebody else runs: nothing but BACKPLANE_* says where they are."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from agents_sdk.settings import load_settings
from agents_sdk.wire.eviction import evict
from backplane.cli.app import run
from backplane.cli.output import ExitCode
from backplane.platform.child import Child
from backplane.platform.platform import LocalPlatform
from backplane.platform.ports import choose
from tests.support import guarded_kafka
from tests.support.eventually import assert_eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
ROOT: Final = Path(__file__).parents[2]
SERVICES: Final = {"ledger": "backplane.ledger", "executor": "backplane.executor", "store": "backplane.sink"}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPlatform]:
    """A Kafka behind a password, and a registry."""
    data_dir = tmp_path_factory.mktemp("servers")
    table = f"{guarded_kafka.__name__}:TABLE"
    with LocalPlatform(data_dir, table=table, users=False, env={"PYTHONPATH": str(ROOT)}) as running:
        yield running


@pytest.fixture
def ports(servers: LocalPlatform, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Where our own services are to listen; this process and its children are told of them and of the servers."""
    chosen = choose(SERVICES, {})
    told = {
        "KAFKA__BOOTSTRAP_SERVERS": f"127.0.0.1:1,127.0.0.1:{servers.record()['ports'][guarded_kafka.DOOR]}",
        "KAFKA__SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "KAFKA__SASL_MECHANISMS": "PLAIN",
        "KAFKA__SASL_USERNAME": guarded_kafka.USER,
        "KAFKA__SASL_PASSWORD": guarded_kafka.PASSWORD,
        "KAFKA__LOG_LEVEL": "0",
        "REGISTRY__URL": servers.settings.registry.url,
        "REGISTRY__USERNAME": servers.settings.registry.username,
        "REGISTRY__PASSWORD": servers.settings.registry.password.get_secret_value(),
        "CLICKHOUSE__URL": f"http://127.0.0.1:{chosen['store']}",
    }
    for name, value in told.items():
        monkeypatch.setenv(f"BACKPLANE_{name}", value)
    return chosen


@pytest.fixture
def services(ports: dict[str, int], tmp_path: Path) -> Iterator[None]:
    """Ledger, executor and sink as processes, on topics and schemas that the commands have made."""
    assert run(["topics", "apply"]) == run(["schemas", "apply"]) == ExitCode.OK
    children: list[Child] = []
    try:
        for name, module in SERVICES.items():
            where = ["--data-dir", str(tmp_path), "--http-port", str(ports[name])]
            children.append(Child([sys.executable, "-m", module, *where], os.environ, tmp_path / f"{name}.log"))
        for child, port in zip(children, ports.values(), strict=True):
            assert_eventually(partial(healthy, child, port), 90)
        yield
    finally:
        for child in children:
            child.send(signal.SIGTERM)
        for child in children:
            assert_eventually(partial(ended, child), 30)


def healthy(child: Child, port: int) -> None:
    assert child.exit_reason() is None, child.tail(20)
    try:
        said = httpx.get(f"http://127.0.0.1:{port}/health", timeout=5).json()
    except httpx.HTTPError as error:
        raise AssertionError(child.tail(5)) from error
    assert said["status"] == "ok"


def ended(child: Child) -> None:
    assert child.exit_reason() is not None


def test_a_call_goes_all_the_way_and_its_facts_are_stored(services: None, capsys: pytest.CaptureFixture[str]) -> None:
    """Every client, librdkafka's and faust's, takes the address and the password by librdkafka's own names; the first
    of two brokers being away does not matter."""
    assert run(["call", "echo", "--param", "n=3", "--json"]) == ExitCode.OK
    assert json.loads(capsys.readouterr().out)["result"] == {"params": {"n": 3}}

    def stored() -> Any:
        assert run(["sql", "SELECT count() AS n FROM events WHERE kind = 'CallCompleted'", "--json"]) == ExitCode.OK
        rows = json.loads(capsys.readouterr().out)
        assert str(rows[0]["n"]) == "1"

    assert_eventually(stored)


def test_a_misspelt_property_is_named(
    ports: dict[str, int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What librdkafka does not know is no internal error: the name is shown, and where settings come from."""
    monkeypatch.setenv("BACKPLANE_KAFKA__SASL_PASWORD", "x")

    assert run(["topics", "apply"]) == ExitCode.USAGE
    said = capsys.readouterr().err
    assert "sasl.pasword" in said
    assert "config explain" in said


def test_a_member_is_taken_out_of_its_group_behind_the_password(ports: dict[str, int]) -> None:
    """By the properties that all clients are given."""
    evict(load_settings().kafka, "bp.ledger", "nobody")
