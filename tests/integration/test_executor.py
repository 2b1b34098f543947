"""The executor in a running platform: calls from the shell, the fallback of the demo, health."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from backplane.builtin.search_server import SearchServer
from backplane.cli import app as cli
from backplane.cli.output import ExitCode

if TYPE_CHECKING:
    from backplane.platform.platform import LocalPlatform


def call(platform: LocalPlatform, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    """``backplane call … --json``: exit code and document, which is the error's when it failed."""
    code = cli.run(["call", *arguments, "--json", "--data-dir", str(platform.layout.data_dir)])
    out, err = capsys.readouterr()
    return code, json.loads(out or err.splitlines()[-1])


def test_a_call_from_the_shell_gives_its_params_back(
    platform: LocalPlatform, capsys: pytest.CaptureFixture[str]
) -> None:
    """Through ledger, executor and back."""
    code, document = call(platform, capsys, "echo", "--param", "n=3", "--params-json", '{"text": "ä"}')

    assert code == ExitCode.OK
    assert document["result"] == {"params": {"n": 3, "text": "ä"}}
    assert (document["provider"], document["attempts"], document["degraded"]) == ("echo", 1, False)


def test_bad_calls_have_exit_codes(platform: LocalPlatform, capsys: pytest.CaptureFixture[str]) -> None:
    """Unknown capability, params that break the schema, a run that does not exist."""
    assert call(platform, capsys, "web_serch")[0] == ExitCode.NOT_FOUND
    assert call(platform, capsys, "web_search", "--param", "results=many")[0] == ExitCode.USAGE
    assert call(platform, capsys, "echo", "--run", "no-such-run")[0] == ExitCode.NOT_FOUND


def test_a_rate_limited_search_falls_back(platform: LocalPlatform, capsys: pytest.CaptureFixture[str]) -> None:
    """The preferred provider answers while its quota lasts, then 429: the next one gives the same hits."""
    query = ("web_search", "--param", "query=event streaming", "--param", "results=3")
    with SearchServer(Path(platform.layout.data_dir), quota=1, window_seconds=600):
        _, first = call(platform, capsys, *query)
        _, second = call(platform, capsys, *query)

    assert (first["provider"], first["attempts"], first["cost_nano_usd"]) == ("corpus_search_primary", 1, 5000)
    assert (second["provider"], second["attempts"]) == ("corpus_search", 2)
    assert first["result"] == second["result"]
    assert len(first["result"]["hits"]) == 3


def test_health_tells_the_lag_of_each_partition(platform: LocalPlatform) -> None:
    """What `backplane status` and a load balancer ask."""
    port = platform.port("executor")

    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=10) as answer:
        body = json.load(answer)

    assert body["status"] == "ok"
    assert {name.partition("[")[0] for name in body["lag"]} == {"bp.calls"}
