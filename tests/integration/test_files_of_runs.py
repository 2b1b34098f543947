"""Files on the real platform: put and read by agents, made by calls; where they come from, held against Kafka."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from agents_sdk import Agent, AsyncBackplane, Context, Event, Settings
from backplane.cli import app as cli
from backplane.cli.output import ExitCode
from tests.support.live_agents import own, running

if TYPE_CHECKING:
    from backplane.platform.platform import LocalPlatform

pytestmark = pytest.mark.timeout(240)

Document = Callable[..., Any]


@pytest.fixture
def document(platform: LocalPlatform, capsys: pytest.CaptureFixture[str]) -> Document:
    """What a command line prints as JSON; it ends well."""

    def run(*arguments: str) -> Any:
        code = cli.run([*arguments, "--json", "--data-dir", str(platform.layout.data_dir)])
        printed = capsys.readouterr()
        assert code == ExitCode.OK, printed.err
        return json.loads(printed.out)

    return run


def nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for below in node.get("rests_on") or node.get("led_to") or ():
        yield from nodes(below)


def whole(told: dict[str, Any], facts: int) -> None:
    """Each fact of the answer lies in Kafka, as the store has it."""
    events = {node["event"]["event_id"] for node in nodes(told["root"]) if node["event"]}
    assert {one["event_id"] for one in told["verified"]} == events
    assert [one["problem"] for one in told["verified"]] == [""] * len(events)
    assert len(events) >= facts


async def test_a_file_that_an_agent_put_leads_to_its_writer_and_to_its_readers(
    settings: Settings, backplane: AsyncBackplane, document: Document
) -> None:
    """And a call that was given it leads back to who put it; every hop is in Kafka."""
    workflow, content = own("w"), own("content").encode()
    maker, reader = Agent(own("maker"), workflows=[workflow]), Agent(own("reader"), workflows=[workflow])

    @maker.on("run.started")
    async def make(ctx: Context, event: Event) -> None:
        brief = await ctx.state.get("brief")
        kept = await ctx.artifacts.put(f"{brief} ".encode() + content, "text/plain")
        await ctx.publish(f"{workflow}.made", kept.descriptor())

    @reader.on(f"{workflow}.made")
    async def read(ctx: Context, event: Event) -> None:
        text = await ctx.artifacts.get(event.data)
        assert await ctx.artifacts.list() == [event.data["uri"]]
        await ctx.execute("file_storage", {"operation": "put", "key": f"{workflow}.txt", "artifact": event.data})
        await ctx.state.set("summary", {"length": len(text), "file": event.data["uri"]})

    async with running(settings, maker, reader):
        run = await backplane.start_run(workflow, state={"brief": "dry"})
        assert (await run.wait(60)).status == "completed"
    summary = await run.state.get("summary")
    assert summary["length"] == len(content) + 4

    def told() -> None:
        up = document("lineage", summary["file"], "--verify")
        [wrote] = up["root"]["rests_on"]
        assert (wrote["relation"], wrote["run_id"], wrote["event"]["agent"]) == ("wrote", run.id, maker.name)
        assert "brief@1" in {node["state"] for node in nodes(wrote)}
        whole(up, 3)
        down = document("lineage", summary["file"], "--down", "--verify")
        assert {"summary@1"} < {node["state"] for node in nodes(down["root"])}
        whole(down, 3)
        value = document("lineage", run.id, "summary", "--verify")
        assert {node["event"]["agent"] for node in nodes(value["root"]) if node["event"]} >= {maker.name, reader.name}
        whole(value, 5)
        [listed] = document("artifacts", "list", "--run", run.id)
        assert (listed["uri"], listed["mime"], listed["agent"]) == (summary["file"], "text/plain", maker.name)
        shown = document("artifacts", "show", summary["file"])
        assert [one["agent"] for one in shown["given_to"]] == [reader.name]

    await asyncio.to_thread(told)


async def test_a_file_that_a_call_made_is_verified_from_itself_on(
    settings: Settings, backplane: AsyncBackplane, document: Document
) -> None:
    """Up to the provider that made it and what its caller had read; down to what came of it."""
    workflow, key = own("w"), own("file")
    agent = Agent(own("keeper"), workflows=[workflow])

    @agent.on("run.started")
    async def keep(ctx: Context, event: Event) -> None:
        text = await ctx.state.get("text")
        await ctx.execute("file_storage", {"operation": "put", "key": key, "text": text})
        got = await ctx.execute("file_storage", {"operation": "get", "key": key})
        await ctx.state.set("file", got.result["artifact"])

    async with running(settings, agent):
        run = await backplane.start_run(workflow, state={"text": own("text")})
        assert (await run.wait(60)).status == "completed"
    file = (await run.state.get("file"))["uri"]

    def told() -> None:
        up = document("lineage", file, "--verify")
        [made] = up["root"]["rests_on"]
        assert (up["root"]["state"], made["relation"], made["event"]["provider"]) == (file, "called", "object_store")
        assert "text@1" in {node["state"] for node in nodes(made)}
        whole(up, 4)
        within = document("lineage", run.id, file, "--verify")
        assert within["root"] == up["root"]
        down = document("lineage", file, "--down", "--verify")
        assert "file@1" in {node["state"] for node in nodes(down["root"])}
        whole(down, 2)

    await asyncio.to_thread(told)
