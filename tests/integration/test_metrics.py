"""What running processes tell Prometheus is what the catalogue says, and moves when something happens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from backplane.cli.app import run
from backplane.cli.output import ExitCode
from backplane.metrics.catalogue import CATALOGUE, Process
from tests.support.eventually import assert_eventually

if TYPE_CHECKING:
    from backplane.platform.platform import LocalPlatform

PARTS: Final[dict[Process, str]] = {"ledger": "ledger", "executor": "executor", "sink": "sink", "console": "console"}


def scraped(platform: LocalPlatform, process: Process) -> dict[str, tuple[str, dict[tuple[str, ...], float]]]:
    """Family → its kind and the values of its samples, by their labels' values in the order of the labels' names."""
    # the platform is ready before its console is
    assert_eventually(lambda: _ready(platform, PARTS[process]), limit_s=60)
    answer = httpx.get(f"http://127.0.0.1:{platform.port(PARTS[process])}/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {
        family.name: (
            family.type,
            {tuple(label for _, label in sorted(sample.labels.items())): sample.value for sample in family.samples},
        )
        for family in text_string_to_metric_families(answer.text)
    }


def _ready(platform: LocalPlatform, part: str) -> None:
    assert platform.part(part)["state"] == "ready"


@pytest.mark.parametrize("process", PARTS)
def test_a_process_tells_what_the_catalogue_says(platform: LocalPlatform, process: Process) -> None:
    """Every metric of its row and of no other's, of the right kind, beside Python's own of the process."""
    told = scraped(platform, process)
    rows = {row.name.removesuffix("_total"): row.kind for row in CATALOGUE if process in row.processes}
    assert {name: kind for name, (kind, _) in told.items() if not name.startswith("process_")} == rows
    assert "process_resident_memory_bytes" in told


def test_a_call_moves_the_counters(platform: LocalPlatform, capsys: pytest.CaptureFixture[str]) -> None:
    """One more completed call, one more attempt, rows in the store; nobody instrumented anything."""

    def calls() -> float:
        return scraped(platform, "ledger")["backplane_calls"][1].get(("echo", "completed"), 0)

    def rows() -> float:
        return scraped(platform, "sink")["backplane_sink_rows"][1][()]

    calls_before, rows_before = calls(), rows()
    assert run(["call", "echo", "--json", "--data-dir", str(platform.layout.data_dir)]) == ExitCode.OK
    capsys.readouterr()

    def moved() -> None:
        assert calls() == calls_before + 1
        assert rows() > rows_before

    assert_eventually(moved)
    assert ("echo", "", "echo") in scraped(platform, "ledger")["backplane_attempts"][1]


def test_pages_and_streams_of_the_console_are_counted(platform: LocalPlatform) -> None:
    """By their pattern, never by their address; what is not let in has none; an open stream as long as it is open."""
    scraped(platform, "console")
    base = f"http://127.0.0.1:{platform.port('console')}"

    def counted(page: str, status: str) -> float:
        return scraped(platform, "console")["backplane_console_requests"][1].get((page, status), 0)

    def streams(expected: int) -> None:
        assert scraped(platform, "console")["backplane_console_streams"][1][()] == expected

    before = counted("/runs/{name}/{tab}", "404"), counted("", "421")
    httpx.get(f"{base}/runs/ffffffff/timeline")
    httpx.get(f"{base}/runs", headers={"host": "evil.example"})
    assert (counted("/runs/{name}/{tab}", "404"), counted("", "421")) == (before[0] + 1, before[1] + 1)
    with httpx.stream("GET", f"{base}/live") as answer:
        lines = answer.iter_lines()  # held: httpx closes the connection with it
        next(lines)
        streams(1)
    assert_eventually(lambda: streams(0))
