"""Providers that are tools of an MCP server: a real one of the official package, over stdio and streamable HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from backplane.manifests.model import McpProvider
from backplane.platform.ports import choose
from backplane.providers.mcp import McpAttempts, Servers
from backplane.recovery.outcome import Answer, AttemptOutcome, Failure
from tests.support.eventually import assert_eventually
from tests.support.http_attempts import request
from tests.support.http_server import Reply, serving

PROGRAM = str(Path(__file__).parents[1] / "support" / "programs" / "mcp_server.py")
COMMAND = [sys.executable, PROGRAM]
ENVIRONMENT = {"PATH": os.environ["PATH"], "MINE": "s3cret-key"}
PATIENCE = 60.0


def free_port() -> int:
    return choose(["mcp"], {})["mcp"]


@contextlib.contextmanager
def listening(port: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The server on this port, once it answers."""
    with log.open("ab") as out:
        process = subprocess.Popen([*COMMAND, str(port)], stdout=out, stderr=out)
    try:

        def answers() -> None:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError as error:
                raise AssertionError(log.read_text()) from error

        assert_eventually(answers, 60)
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture(params=["stdio", "http"])
def reached(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """How a manifest names the server."""
    if request.param == "stdio":
        yield {"command": COMMAND, "env": {"KEY": {"env": "MINE"}}}
        return
    port = free_port()
    with listening(port, tmp_path / "server.log"):
        yield {"url": {"value": f"http://127.0.0.1:{port}/mcp"}}


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncIterator[Servers]:
    made = Servers(ENVIRONMENT, tmp_path)
    yield made
    await made.close()


def tool(servers: Servers, name: str, **fields: Any) -> McpAttempts:
    spec = McpProvider.model_validate({"name": "t", "kind": "mcp", "tool": name, **fields})
    return McpAttempts(spec, servers.of(spec))


async def ask(attempts: McpAttempts, timeout: float = PATIENCE, **params: Any) -> AttemptOutcome:
    return await attempts.attempt(request(params, timeout=timeout))


def answered(outcome: AttemptOutcome) -> Any:
    assert isinstance(outcome, Answer), outcome
    return outcome.result


def failed(outcome: AttemptOutcome) -> Failure:
    assert isinstance(outcome, Failure), outcome
    return outcome


async def test_structured_content_becomes_the_result(servers: Servers, reached: dict[str, Any]) -> None:
    """By JMESPath; arguments by a template."""
    attempts = tool(
        servers,
        "weather",
        arguments={"place": "${params.city}", "days": "${config.days}"},
        config={"days": 2},
        result="{where: structured.place, warm: structured.celsius[1]}",
        **reached,
    )

    assert answered(await ask(attempts, city="Bern")) == {"where": "Bern", "warm": 20.5}


async def test_text_becomes_the_result(servers: Servers, reached: dict[str, Any]) -> None:
    """JSON in it is read; texts are joined; other blocks are there as MCP has them."""
    plain = tool(servers, "words", **reached)
    blocks = tool(servers, "picture", result="{text: text, image: content[?type == 'image'] | [0].mimeType}", **reached)

    assert answered(await ask(plain, text="sunny")) == {"text": "sunny"}
    assert answered(await ask(plain, text='{"celsius": 20}')) == {"celsius": 20}
    assert answered(await ask(blocks)) == {"text": "one\ntwo", "image": "image/png"}


async def test_the_session_is_shared_and_kept(servers: Servers) -> None:
    """All tools of a server, many at a time, one process."""
    stdio = {"command": COMMAND}
    first, second = tool(servers, "weather", **stdio), tool(servers, "weather", **stdio, result="structured")
    outcomes = await asyncio.gather(*(ask(each, place="Bern") for each in (first, second) * 5))
    later = await ask(first, place="Bern")

    pids = {answered(outcome)["pid"] for outcome in [*outcomes, later]}
    assert len(pids) == 1
    await servers.close()
    assert not psutil.pid_exists(pids.pop())


async def test_a_tool_that_fails_has_its_class(servers: Servers, reached: dict[str, Any]) -> None:
    """By the rules of the manifest; unknown without one; the key is not quoted."""
    rules = [{"text": "too many", "class": "rate_limited"}, {"text": "POLICY", "class": "content_refused"}]
    attempts = tool(servers, "refuse", errors=rules, **reached)

    limited = failed(await ask(attempts, reason="Too many requests"))
    refused = failed(await ask(attempts, reason="against our policy"))
    other = failed(await ask(attempts, reason="no idea"))

    assert [each.error_class for each in (limited, refused, other)] == ["rate_limited", "content_refused", "unknown"]
    assert [each.uncertain for each in (limited, refused, other)] == [False, False, True]
    assert "no idea" in other.message
    assert "s3cret-key" not in other.message
    assert other.code == "tool_error"


@pytest.mark.parametrize(("name", "params"), [("no_such_tool", {}), ("weather", {"plaice": "Bern"})])
async def test_a_call_that_is_wrong_is_told(
    servers: Servers, reached: dict[str, Any], name: str, params: dict[str, Any]
) -> None:
    """An unknown tool, arguments that break its schema: the server's own words."""
    outcome = failed(await ask(tool(servers, name, **reached), **params))

    assert outcome.error_class in ("invalid_request", "unknown")
    assert outcome.message


async def test_a_tool_that_takes_too_long_costs_its_attempt_and_no_other(
    servers: Servers, reached: dict[str, Any]
) -> None:
    """The next call is answered."""
    await ask(tool(servers, "weather", **reached), place="Bern")
    late = failed(await ask(tool(servers, "slow", **reached), timeout=0.5, seconds=30))
    after = await ask(tool(servers, "words", **reached), text="on we go")

    assert (late.error_class, late.code, late.uncertain) == ("transient", "timeout", True)
    assert answered(after) == {"text": "on we go"}


async def test_a_result_above_the_limit_is_refused(servers: Servers, reached: dict[str, Any]) -> None:
    """By bytes."""
    outcome = failed(await ask(tool(servers, "huge", max_bytes=10_000, **reached), size=20_000))

    assert (outcome.error_class, outcome.code) == ("unknown", "response_too_large")


async def test_a_program_that_dies_is_started_anew(servers: Servers) -> None:
    """The call under way may have had its effect; the next one finds a new process."""
    stdio = {"command": COMMAND}
    before = answered(await ask(tool(servers, "weather", **stdio), place="Bern"))["pid"]
    died = failed(await ask(tool(servers, "die", **stdio)))
    after = answered(await ask(tool(servers, "weather", **stdio), place="Bern"))["pid"]

    assert (died.error_class, died.uncertain) == ("transient", True)
    assert before != after


async def test_a_server_that_was_restarted_is_connected_again(servers: Servers, tmp_path: Path) -> None:
    """The old session is gone with it: at most one attempt finds that out."""
    port = free_port()
    attempts = tool(servers, "weather", url={"value": f"http://127.0.0.1:{port}/mcp"})
    with listening(port, tmp_path / "one.log"):
        before = answered(await ask(attempts, place="Bern"))["pid"]
    gone = failed(await ask(attempts, place="Bern"))
    with listening(port, tmp_path / "two.log"):
        outcomes = [await ask(attempts, place="Bern"), await ask(attempts, place="Bern")]

    assert gone.error_class in ("outage", "transient")
    assert answered(outcomes[-1])["pid"] != before


async def test_the_secret_goes_to_the_server_as_a_header(servers: Servers) -> None:
    """And what it answers is no MCP: no session, told with its class."""
    with serving(lambda asked: Reply({"error": "no"}, 401)) as elsewhere:
        auth = {"kind": "bearer", "secret": {"env": "MINE"}}
        outcome = failed(await ask(tool(servers, "weather", url={"value": f"{elsewhere.url}/mcp"}, auth=auth)))

        assert elsewhere.asked[0].headers["authorization"] == "Bearer s3cret-key"
        assert (outcome.code, outcome.uncertain) == ("not_connected", False)
        assert "s3cret-key" not in outcome.message


@pytest.mark.parametrize(
    "reached",
    [
        {"command": ["/no/such/server"]},
        {"command": [sys.executable, "-c", "raise SystemExit('no such module: weather')"]},
        {"url": {"value": "http://127.0.0.1:1/mcp"}},
        {"url": {"value": "http://no-such-host.invalid/mcp"}},
    ],
    ids=["no program", "ends at once", "nobody listens", "no such host"],
)
async def test_a_server_that_is_not_there_is_an_outage(servers: Servers, reached: dict[str, Any]) -> None:
    """And certain: the tool was not called. What a program said last is quoted."""
    outcome = failed(await ask(tool(servers, "weather", **reached), place="Bern"))

    assert (outcome.error_class, outcome.code, outcome.uncertain) == ("outage", "not_connected", False)
    assert "-c" not in reached.get("command", []) or "no such module: weather" in outcome.message


@pytest.mark.parametrize(
    "program", ["import sys\nfor line in sys.stdin: print('<html>', flush=True)", "import time; time.sleep(600)"]
)
async def test_a_program_that_speaks_no_mcp_costs_the_attempt_its_time(servers: Servers, program: str) -> None:
    """Garbage or silence."""
    outcome = failed(await ask(tool(servers, "weather", command=[sys.executable, "-c", program]), timeout=2.0))

    assert (outcome.error_class, outcome.code) == ("transient", "timeout")


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"command": ["a"], "url": {"value": "http://a"}},
        {"command": ["a"], "auth": {"kind": "bearer", "secret": {"env": "K"}}},
        {"url": {"value": "http://a"}, "auth": {"kind": "query", "name": "k", "secret": {"env": "K"}}},
    ],
)
def test_a_manifest_that_names_no_one_server_is_refused(fields: dict[str, Any]) -> None:
    """A command or a url; a secret only where it can go."""
    with pytest.raises(ValueError, match="MCP server is"):
        McpProvider.model_validate({"name": "t", "kind": "mcp", "tool": "x", **fields})


async def test_what_expressions_cannot_work_with_is_a_failure(servers: Servers) -> None:
    """Of the params: the tool is not called. Of the result: it was."""
    stdio = {"command": COMMAND}
    before = failed(await ask(tool(servers, "weather", arguments="${params.place}", **stdio), place="Bern"))
    never = failed(await ask(tool(servers, "weather", arguments="${length(params.none)}", **stdio), place="Bern"))
    after = failed(await ask(tool(servers, "weather", result="length(structured.pid)", **stdio), place="Bern"))

    assert [(each.error_class, each.uncertain) for each in (before, never)] == [("invalid_request", False)] * 2
    assert (after.error_class, after.code, after.uncertain) == ("transient", "malformed_response", True)
