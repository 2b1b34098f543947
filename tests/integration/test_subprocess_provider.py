"""Providers that are programs: real processes, well-behaved and not."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from backplane.manifests.model import SubprocessProvider
from backplane.providers.subprocess import SubprocessAttempts
from backplane.recovery.outcome import Answer, AttemptOutcome, Failure
from tests.support.eventually import assert_soon
from tests.support.http_attempts import request

PROGRAM = [sys.executable, str(Path(__file__).parents[1] / "support" / "programs" / "lines.py")]
PATIENCE = 30.0


def program(data_dir: Path, environment: dict[str, str] | None = None, **fields: Any) -> SubprocessAttempts:
    spec = SubprocessProvider.model_validate({"name": "p", "kind": "subprocess", "command": PROGRAM, **fields})
    return SubprocessAttempts(spec, {"PATH": "/usr/bin:/bin", **(environment or {})}, data_dir)


def answered(outcome: AttemptOutcome) -> Any:
    assert isinstance(outcome, Answer), outcome
    return outcome.result


def failed(outcome: AttemptOutcome) -> Failure:
    assert isinstance(outcome, Failure), outcome
    return outcome


async def once(data_dir: Path, params: dict[str, Any], *, timeout: float = PATIENCE, **fields: Any) -> AttemptOutcome:
    attempts = program(data_dir, **fields)
    try:
        return await attempts.attempt(request(params, timeout=timeout))
    finally:
        await attempts.close()


async def test_a_worker_is_asked_again_and_again(tmp_path: Path) -> None:
    """One process, one call at a time; it knows the call, and says what it used."""
    attempts = program(tmp_path, config={"depth": 2})
    outcomes = [await attempts.attempt(request({"n": n}, call_id=f"c{n}")) for n in range(3)]
    await attempts.close()

    results = [answered(outcome) for outcome in outcomes]
    assert len({result["pid"] for result in results}) == 1
    assert [result["served"] for result in results] == [1, 2, 3]
    asked = results[2]["asked"]
    assert (asked["call_id"], asked["params"], asked["config"], asked["run_id"]) == ("c2", {"n": 2}, {"depth": 2}, "r")
    assert isinstance(outcomes[0], Answer)
    usage = outcomes[0].usage
    assert (usage.seconds, usage.input_tokens, usage.images, outcomes[0].model) == (2.5, 3, 0, "m-1")


async def test_calls_at_the_same_time_have_a_process_each(tmp_path: Path) -> None:
    """And those are kept for the next ones."""
    attempts = program(tmp_path)
    first = await asyncio.gather(*(attempts.attempt(request(call_id=f"c{n}")) for n in range(3)))
    again = await attempts.attempt(request())
    await attempts.close()

    pids = {answered(outcome)["pid"] for outcome in first}
    assert len(pids) == 3
    assert answered(again)["pid"] in pids
    assert not any(psutil.pid_exists(pid) for pid in pids)


async def test_one_process_a_call_ends_by_itself(tmp_path: Path) -> None:
    """With the end of its input; it may tidy up after its answer."""
    trace = tmp_path / "trace"
    attempts = program(tmp_path, mode="call", env={"LEAVE": {"value": str(trace)}})
    results = [answered(await attempts.attempt(request())) for _ in range(2)]
    await attempts.close()

    assert results[0]["pid"] != results[1]["pid"]
    assert trace.read_text() == "ended by itself\n" * 2


async def test_a_program_sees_what_its_manifest_names_and_no_key_of_others(tmp_path: Path) -> None:
    """The executor's environment holds the keys of all providers."""
    (tmp_path / "work").mkdir()
    outcome = await once(
        tmp_path,
        {"env": ["PATH", "OPENAI_API_KEY", "KEY", "MODE"]},
        environment={"OPENAI_API_KEY": "not yours", "MINE": "s3cret-key"},
        env={"KEY": {"env": "MINE"}, "MODE": {"value": "fast"}},
        folder="work",
        result="{env: env, folder: folder}",
    )

    result = answered(outcome)
    assert result["env"] == {"PATH": "/usr/bin:/bin", "OPENAI_API_KEY": None, "KEY": "[secret]", "MODE": "fast"}
    assert result["folder"] == str(tmp_path / "work")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            {"class": "rate_limited", "code": "busy", "message": "later", "retry_after": 7},
            ("rate_limited", "busy", "later", 7.0, False),
        ),
        ({"class": "quota"}, ("quota", "quota", "it gave no reason", None, False)),
        ({"class": "transient", "message": "again"}, ("transient", "transient", "again", None, True)),
        ({"class": "bad luck", "retry_after": -1}, ("unknown", "unknown", "it gave no reason", None, True)),
        ("just words", ("unknown", "unknown", "just words", None, True)),
    ],
)
async def test_what_it_says_of_its_failure_counts(tmp_path: Path, error: Any, expected: tuple[Any, ...]) -> None:
    """Class, code, words, Retry-After."""
    outcome = failed(await once(tmp_path, {"do": "fail", "error": error}))

    assert (
        outcome.error_class, outcome.code, outcome.message, outcome.retry_after, outcome.uncertain
    ) == expected  # fmt: skip


@pytest.mark.parametrize("text", ["<html>", "[1]", '{"id": "call-1/1"}', "\x00\x01", '{"id": "call-1/1", "result": '])
async def test_garbage_is_a_failure_and_costs_the_worker(tmp_path: Path, text: str) -> None:
    """After a line that is none it is not known where the next begins, so another process takes over."""
    attempts = program(tmp_path)
    first = answered(await attempts.attempt(request()))["pid"]
    outcome = failed(await attempts.attempt(request({"do": "raw", "text": text})))
    second = answered(await attempts.attempt(request()))["pid"]
    await attempts.close()

    assert (outcome.error_class, outcome.code, outcome.uncertain) == ("unknown", "malformed_answer", True)
    assert first != second


async def test_a_late_answer_to_another_request_is_not_taken_for_this_one(tmp_path: Path) -> None:
    """Answers have the id of their request."""
    assert answered(await once(tmp_path, {"do": "late"})) == {"stale": False}


async def test_a_worker_that_dies_is_replaced(tmp_path: Path) -> None:
    """The failure says how it ended and what it said last, without its secret."""
    attempts = program(tmp_path, environment={"MINE": "s3cret-key"}, env={"KEY": {"env": "MINE"}})
    outcome = failed(await attempts.attempt(request({"do": "crash"})))
    after = await attempts.attempt(request())
    await attempts.close()

    assert (outcome.error_class, outcome.code, outcome.uncertain) == ("transient", "ended", True)
    assert outcome.message == "it ended without an answer (exit code 3): key is [secret]: out of luck"
    assert isinstance(after, Answer)


async def test_a_worker_that_was_killed_while_idle_is_replaced(tmp_path: Path) -> None:
    """The next call does not meet a corpse."""
    attempts = program(tmp_path)
    pid = answered(await attempts.attempt(request()))["pid"]
    psutil.Process(pid).kill()

    async def gone() -> None:
        assert attempts._idle[0].process.returncode is not None

    await assert_soon(gone)
    after = await attempts.attempt(request())
    await attempts.close()

    assert answered(after)["pid"] != pid


async def test_what_it_writes_to_stderr_never_stops_it(tmp_path: Path) -> None:
    """Far more than a pipe holds."""
    assert answered(await once(tmp_path, {"do": "noise"})) == {"ok": True}


@pytest.mark.parametrize("mode", ["worker", "call"])
async def test_a_program_whose_time_is_over_is_killed_with_its_children(tmp_path: Path, mode: str) -> None:
    """Though it ignores polite signals."""
    pids = tmp_path / "pids"
    attempts = program(tmp_path, mode=mode)
    hanging = asyncio.ensure_future(attempts.attempt(request({"do": "hang", "pids": str(pids)}, timeout=PATIENCE)))
    started = tmp_path / "pids.done"

    async def is_started() -> None:
        assert started.exists()

    await assert_soon(is_started)
    processes = [psutil.Process(int(pid)) for pid in started.read_text().split()]
    hanging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hanging

    async def are_gone() -> None:
        assert not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in processes)

    await assert_soon(are_gone)
    outcome = failed(await attempts.attempt(request({"do": "hang", "pids": str(pids)}, timeout=0.5)))
    await attempts.close()
    assert (outcome.error_class, outcome.code, outcome.uncertain) == ("transient", "timeout", True)


async def test_a_program_that_never_ends_its_answer_is_cut_off(tmp_path: Path) -> None:
    """By bytes."""
    outcome = failed(await once(tmp_path, {"do": "flood"}, max_bytes=100_000))

    assert (outcome.error_class, outcome.code) == ("unknown", "response_too_large")


@pytest.mark.parametrize("fields", [{"command": ["/no/such/program"]}, {"folder": "nowhere"}])
async def test_a_program_that_cannot_be_started_is_an_outage(tmp_path: Path, fields: dict[str, Any]) -> None:
    """And certain: nothing ran."""
    outcome = failed(await once(tmp_path, {}, **fields))

    assert (outcome.error_class, outcome.code, outcome.uncertain) == ("outage", "not_started", False)


async def test_a_result_that_the_manifest_does_not_expect_is_a_failure(tmp_path: Path) -> None:
    """Typed, not raised."""
    outcome = failed(await once(tmp_path, {}, result="length(pid)"))

    assert (outcome.code, outcome.uncertain) == ("malformed_answer", True)
