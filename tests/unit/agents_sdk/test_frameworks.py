"""Handlers of real frameworks whose two tools run side by side: cut off at random moments and made again, each tool's
effects are there once. Their packages are in the group ``frameworks``; `make frameworks` installs them and runs this.
"""

from __future__ import annotations

import asyncio
import json
import operator
import os
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, Final, TypedDict

import pytest

from agents_sdk.context import Context, entered
from tests.support.step_place import Place

RUNS: Final = int(os.environ.get("RUNS", "15"))
SEED: Final = int(os.environ.get("SEED", "1"))
CUT_OFF: Final = 4
"""Attempts of a run that are cut off, at most."""
Handler = Callable[[Context, Place], Awaitable[str]]


async def tool(ctx: Context, place: Place, name: str) -> str:
    """A tool: the faster one of two is left to chance."""
    await asyncio.sleep(random.random() * 0.02)
    await ctx.state.set(name, name)
    return await ctx.step("tool", place.draft, name)


async def asked(ctx: Context, place: Place) -> str:
    """A model, asked by the author's own client."""
    return await ctx.step("model", place.draft, "model")


async def pydantic_ai(ctx: Context, place: Place) -> str:
    """An agent of pydantic-ai whose model calls one tool twice."""
    ai = pytest.importorskip("pydantic_ai")
    messages = pytest.importorskip("pydantic_ai.messages")
    models = pytest.importorskip("pydantic_ai.models.function")

    async def answer(history: Any, info: Any) -> Any:
        await asked(ctx, place)
        if len(history) > 1:
            return messages.ModelResponse(parts=[messages.TextPart("done")])
        return messages.ModelResponse(parts=[messages.ToolCallPart("look", {"what": what}) for what in "ab"])

    agent = ai.Agent(models.FunctionModel(answer))

    async def look(what: str) -> str:
        return await tool(ctx, place, what)

    agent.tool_plain(look)
    return str((await agent.run("go")).output)


class Seen(TypedDict):
    """The state of the graph."""

    seen: Annotated[list[str], operator.add]


async def langgraph(ctx: Context, place: Place) -> str:
    """A graph of LangGraph with two nodes side by side."""
    graphs = pytest.importorskip("langgraph.graph")

    async def model(state: Seen) -> Seen:
        return {"seen": [await asked(ctx, place)]}

    async def first(state: Seen) -> Seen:
        return {"seen": [await tool(ctx, place, "a")]}

    async def second(state: Seen) -> Seen:
        return {"seen": [await tool(ctx, place, "b")]}

    graph = graphs.StateGraph(Seen)
    for name, node in (("model", model), ("first", first), ("second", second)):
        graph.add_node(name, node)
    graph.add_edge(graphs.START, "model")
    for name in ("first", "second"):
        graph.add_edge("model", name)
        graph.add_edge(name, graphs.END)
    seen = (await graph.compile().ainvoke({"seen": []}))["seen"]
    return "done" if sorted(seen) == ["a", "b", "model"] else str(seen)


async def openai_agents(ctx: Context, place: Place) -> str:
    """An agent of OpenAI Agents whose model calls one tool twice."""
    ai = pytest.importorskip("agents")
    responses = pytest.importorskip("openai.types.responses")
    ai.set_tracing_disabled(True)  # theirs

    def call(what: str) -> Any:
        return responses.ResponseFunctionToolCall(
            call_id=what, name="look", arguments=json.dumps({"what": what}), type="function_call"
        )

    base: Any = ai.Model

    class Model(base):  # type: ignore[misc]  # of a package that need not be there
        turns = 0

        async def get_response(self, *args: Any, **more: Any) -> Any:
            await asked(ctx, place)
            self.turns += 1
            text = responses.ResponseOutputText(text="done", type="output_text", annotations=[])
            done = responses.ResponseOutputMessage(
                id="1", role="assistant", status="completed", type="message", content=[text]
            )
            output = [call("a"), call("b")] if self.turns == 1 else [done]
            return ai.ModelResponse(output=output, usage=ai.Usage(), response_id=None)

        def stream_response(self, *args: Any, **more: Any) -> Any:
            raise NotImplementedError

    async def look(what: str) -> str:
        return await tool(ctx, place, what)

    agent = ai.Agent(name="x", model=Model(), tools=[ai.function_tool(look)])
    return str((await ai.Runner.run(agent, "go")).final_output)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("handler", [pydantic_ai, langgraph, openai_agents])
async def test_tools_side_by_side_have_their_effects_once(tmp_path: Path, handler: Handler) -> None:
    """However often the handler is cut off, and whichever tool was faster before."""
    made = 0
    for number in range(RUNS):
        random.seed(f"{SEED}/{number}")
        place = Place(tmp_path / str(number))
        result, attempts = "", 0
        while not result:
            result = await cut_off(handler, place, first=attempts == 0, last=attempts == CUT_OFF)
            attempts += 1
        made += attempts
        assert [json.loads(fact.difference) for fact in place.facts("MessageParked")] == []
        assert (result, sorted(fact.key for fact in place.facts("StateWritten"))) == ("done", ["a", "b"])
        done = [fact.capability for fact in place.facts("CallCompleted")]
        assert done.count("step:tool") == 2
    print(f"SEED={SEED}: {RUNS} runs, {made} attempts")


async def cut_off(handler: Handler, place: Place, *, first: bool, last: bool) -> str:
    """One attempt, which a random moment ends unless it is the last."""
    ctx = place.attempt(first=first)

    async def attempt() -> str:
        with entered(ctx):
            return await handler(ctx, place)

    task = asyncio.get_running_loop().create_task(attempt())
    await asyncio.wait({task}, timeout=None if last else random.random() * 0.06)
    if task.done():
        return task.result()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return ""
