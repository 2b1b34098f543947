"""Rights as operators handle them, on a real platform: files of roles, approvals, keys with roles, and who did what."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from agents_sdk import Agent, AsyncBackplane, Context, Event, ScopeDenied, Settings
from agents_sdk.core.ledger.rights import FIRST_DECLARATION
from agents_sdk.errors import NotGranted
from agents_sdk.grants import whoami
from agents_sdk.settings_model import Identity
from backplane.cli.app import run as cli
from backplane.cli.output import ExitCode
from backplane.console.access import CSRF
from backplane.platform.platform import LocalPlatform
from tests.support.eventually import assert_eventually, assert_soon
from tests.support.live_agents import own, running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Its document."""
        return json.loads(self.out)  # type: ignore[no-any-return]


Command = Callable[..., Done]


@pytest.fixture
def command(settings: Settings, capfd: pytest.CaptureFixture[str]) -> Command:
    """Runs a command line on the platform."""

    def run(*words: str) -> Done:
        capfd.readouterr()
        code = cli([*words, "--data-dir", str(settings.data_dir)])
        return Done(code, *capfd.readouterr())

    return run


def declaring(name: str, workflow: str, *reads: str) -> Agent:
    agent = Agent(name, workflows=[workflow], reads=list(reads))

    @agent.on("run.started")
    async def handle(ctx: Context, event: Event) -> None:
        await ctx.state.get("secret")

    return agent


@pytest.fixture
async def nosy(settings: Settings, backplane: AsyncBackplane) -> AsyncIterator[str]:
    """An agent that was granted to read one key, and asks for all since."""
    name, workflow = own("nosy"), own("asking")
    async with running(settings, declaring(name, workflow, "brief")):
        pass
    async with running(settings, declaring(name, workflow, "*")):
        yield name


def granted(command: Command, name: str) -> dict[str, Any]:
    return next((row for row in command("roles", "show", "--json").rows if row["name"] == name), {})


async def test_a_file_of_roles_is_compared_applied_shown_and_withdrawn(
    command: Command, settings: Settings, backplane: AsyncBackplane, tmp_path: Path
) -> None:
    """And what it says of nobody it takes from nobody: the client of this test goes on."""
    agent, client, file = own("reader"), own("dashboard"), tmp_path / "roles.yaml"
    file.write_text(
        f"roles:\n  reader: {{reads: [brief], runs: {{take_part: ['*']}}, budget: 1 USD}}\n"
        f"agents: {{{agent}: [reader]}}\nclients: {{{client}: [viewer]}}\n"
    )
    for words in (("diff", str(file)), ("apply", str(file)), ("diff", str(file))):
        done = await asyncio.to_thread(command, "roles", *words)
        assert done.code == (ExitCode.REFUSED if words[0] == "diff" and "reads brief" in done.out else ExitCode.OK), (
            done
        )
    row = await asyncio.to_thread(granted, command, agent)
    assert (row["reads"], row["granted"], "@" in row["by"]) == ("brief", "reader", True)
    checks: tuple[tuple[tuple[str, ...], ExitCode], ...] = (
        ((client, "read", "anything"), ExitCode.OK),
        ((client, "write", "anything"), ExitCode.REFUSED),
        ((agent, "read", "brief"), ExitCode.REFUSED),  # it has not declared itself yet
    )
    for asked, code in checks:
        assert (await asyncio.to_thread(command, "roles", "check", *asked)).code == code, asked
    async with running(settings, declaring(agent, own("read"), "*")):
        checks = (((agent, "read", "brief"), ExitCode.OK), ((agent, "read", "secret"), ExitCode.REFUSED))
        for asked, code in checks:
            assert (await asyncio.to_thread(command, "roles", "check", *asked)).code == code, asked
    file.write_text("roles: {}\n")
    assert (await asyncio.to_thread(command, "roles", "apply", str(file))).code == ExitCode.OK
    assert (await asyncio.to_thread(granted, command, agent))["reads"] == ""
    await (await backplane.start_run(own("goes-on"), complete_when="explicit")).complete()


async def test_a_wider_declaration_waits_is_told_of_and_is_approved(
    command: Command, nosy: str, platform: LocalPlatform
) -> None:
    """In the status, with the command that approves it."""
    line = f"approval: '{nosy}' asks for reads *; `backplane agents approve {nosy}`"
    status = await asyncio.to_thread(command, "status")
    assert line in status.err
    assert (await asyncio.to_thread(command, "roles", "check", nosy, "read", "secret")).code == ExitCode.REFUSED
    done = await asyncio.to_thread(command, "agents", "approve", nosy)
    assert (done.code, "reads *" in done.err) == (ExitCode.OK, True)
    assert (await asyncio.to_thread(command, "roles", "check", nosy, "read", "secret")).code == ExitCode.OK
    assert line not in (await asyncio.to_thread(command, "status")).err
    again = await asyncio.to_thread(command, "agents", "approve", nosy)
    assert (again.code, "was granted all" in again.err) == (ExitCode.OK, True)
    assert (await asyncio.to_thread(command, "agents", "approve", own("nobody"))).code == ExitCode.NOT_FOUND


async def test_console_approves_what_was_seen_and_no_more(command: Command, nosy: str, platform: LocalPlatform) -> None:
    """A page of another site, a page without the token and a list that is out of date grant nothing."""
    base = f"http://127.0.0.1:{platform.port('console')}"

    def press() -> None:
        with httpx.Client(base_url=base, timeout=60) as client:
            page: list[str] = []

            def seen() -> None:
                page[:] = [client.get("/agents").text]
                assert f'action="/agents/{nosy}"' in page[0]

            assert_eventually(seen, 60)
            assert '<input type="hidden" name="right" value="reads *">' in page[0]
            form = {"csrf": client.cookies[CSRF], "right": "reads *"}
            where = f"/agents/{nosy}"
            assert client.post(where, data={"right": "reads *"}).status_code == 403
            assert client.post(where, data=form, headers={"Origin": "http://evil.example"}).status_code == 403
            assert client.post(where, data={**form, "right": "reads brief"}).status_code == 409
            assert granted(command, nosy)["reads"] == "brief"
            assert client.post(where, data=form).status_code == 303
            assert granted(command, nosy)["reads"] == "brief *"

            def gone() -> None:
                assert "Approve what" not in client.get(where).text

            assert_eventually(gone, 30)

    await asyncio.to_thread(press)
    assert (await asyncio.to_thread(granted, command, nosy))["by"].endswith("(console)")


async def test_trusted_agents_are_granted_what_they_declare(
    command: Command, settings: Settings, tmp_path: Path
) -> None:
    """While developing: the second declaration of a name asks for more, and gets it."""
    name, file = own("trusted"), tmp_path / "trusted.py"
    code = "from agents_sdk import Agent\none = Agent({!r}, workflows=['none-of-these'], reads=[{!r}])\n"
    code += "@one.on('run.started')\nasync def handle(ctx, event): pass\n"

    def started(reads: str, *options: str) -> None:
        file.write_text(code.format(name, reads))
        argv = [sys.executable, "-m", "backplane.cli.app", "agents", "run", str(file), *options]
        where = ["--data-dir", str(settings.data_dir)]
        with subprocess.Popen([*argv, *where], stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            for line in process.stderr:
                if line.startswith("agents: ready"):
                    break
            process.terminate()
            process.communicate(timeout=30)

    await asyncio.to_thread(started, "brief")
    await asyncio.to_thread(started, "wider.*")
    assert (await asyncio.to_thread(granted, command, name))["not_granted"] == "reads wider.*"
    await asyncio.to_thread(started, "wider.*", "--trust")
    row = await asyncio.to_thread(granted, command, name)
    assert (row["not_granted"], row["by"].endswith("--trust")) == ("", True)


async def test_a_key_with_a_role_may_what_the_role_allows(
    command: Command, settings: Settings, backplane: AsyncBackplane, tmp_path: Path
) -> None:
    """A key alone allows nothing; a viewer's reads and writes not."""
    run = await backplane.start_run(own("viewed"), complete_when="explicit", state={"a": 1})
    for role in ([], ["--role", "viewer"]):
        name, key = own("issued"), tmp_path / f"{len(role)}.key"
        done = await asyncio.to_thread(command, "agents", "issue", name, "--out", str(key), *role)
        assert done.code == ExitCode.OK, done.err
        assert ("nothing is granted" in done.err) != bool(role)
        theirs = settings.model_copy(update={"identity": Identity(key_file=key)})
        async with AsyncBackplane.connect(theirs, name=name) as client:
            seen = client.run(run.id)
            if not role:
                with pytest.raises(NotGranted):
                    await seen.state.get("a")
                continue
            assert await seen.state.get("a") == 1
            with pytest.raises(ScopeDenied):
                await seen.state.set("a", 2)
            with pytest.raises(ScopeDenied):
                await seen.complete()
    wrong = await asyncio.to_thread(command, "agents", "issue", own("x"), "--out", str(key), "--role", "veiwer")
    assert (wrong.code, "viewer" in wrong.err) == (ExitCode.USAGE, True)
    await run.complete()


async def test_who_issued_rotated_revoked_approved_and_removed_is_on_the_record(
    command: Command, nosy: str, tmp_path: Path
) -> None:
    """One row an act, though each partition has a fact of it; the console shows them too."""
    for words in (
        ("issue", nosy, "--out", str(tmp_path / "1.key")),
        ("rotate", nosy, "--out", str(tmp_path / "2.key")),
        ("revoke", nosy),
        ("approve", nosy),
        ("remove", nosy),
    ):
        done = await asyncio.to_thread(command, "agents", *words)
        assert done.code == ExitCode.OK, (words, done.err)
    sql = f"SELECT kind, done_by, key_generation AS generation FROM v_audit WHERE name = '{nosy}' ORDER BY at"

    async def recorded() -> None:
        done = await asyncio.to_thread(command, "sql", sql, "--json")
        assert done.code == ExitCode.OK, done.err
        found = [(row["kind"], row["generation"]) for row in done.rows]
        ours = [("AgentKeyIssued", 2), ("AgentKeyRevoked", 2), ("RightsGranted", 0), ("AgentRemoved", 0)]
        assert found[-4:] == ours, found
        assert {row["done_by"] for row in done.rows[-4:]} == {whoami()}
        assert (found[0][0], done.rows[0]["done_by"]) in [
            ("AgentRegistered", nosy),
            ("RightsGranted", FIRST_DECLARATION),
        ]

    await assert_soon(recorded, 60)
