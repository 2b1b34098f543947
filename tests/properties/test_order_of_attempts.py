"""The law of order: from one sender to one receiver in a run, always; whatever fails, and whoever is killed."""

from __future__ import annotations

import asyncio
from itertools import groupby
from typing import Any, Final

from hypothesis import event, given, settings
from hypothesis import strategies as st

from agents_sdk import Agent, Context, Event, Retry
from agents_sdk.core.ids import DeliveryId, RunId
from tests.support.inbox_world import Process, World

ATTEMPTS: Final = 3
RUNS: Final = ("r1", "r2")
Step = tuple[str, Any]


def steps() -> st.SearchStrategy[list[Step]]:
    """What happens: messages with the number of attempts that will fail, and the fate of the process that has them."""
    message = st.tuples(st.sampled_from(RUNS), st.sampled_from(("ann", "bob")), st.integers(0, ATTEMPTS))
    return st.lists(
        st.one_of(
            st.tuples(st.just("send"), message),
            st.tuples(st.just("turns"), st.integers(1, 12)),
            st.tuples(st.just("commit"), st.none()),
            st.tuples(st.just("killed"), st.none()),
            st.tuples(st.just("outlived"), st.none()),
        ),
        max_size=40,
    )


class Story:
    """One example: the steps carried out, and then all that is left to do, in peace."""

    def __init__(self, wait_s: float) -> None:
        """``wait_s``: how long is waited between two attempts."""
        self.failing: dict[tuple[str, int], int] = {}
        """Run and number of a message → attempts at it that fail."""
        self.begun: list[tuple[str, int, int]] = []
        """Run, message and attempt of each handler that began."""
        self.known_to_be_over: list[tuple[str, int, int]] = []
        """Of these, those of which the ledger knew that they had ended."""
        agent = Agent("worker", max_deliveries=ATTEMPTS, supervisor="boss", retry=Retry(initial_seconds=wait_s))
        agent.on("work")(self.handle)
        self.world = World(agent)
        self.world.desk.register("boss")
        for run_id in RUNS:
            self.world.put(self.world.desk.start, run_id=run_id)
        self.zombies: list[Process] = []

    async def handle(self, ctx: Context, happened: Event) -> None:
        number: int = happened.data
        self.begun.append((ctx.run_id, number, happened.attempt))
        held = self.world.desk.book.runs[RunId(ctx.run_id)].deliveries.get(DeliveryId(happened.delivery_id))
        if held is None or held.attempt != happened.attempt:
            self.known_to_be_over.append(self.begun[-1])
        await ctx.state.set(f"done.{number}", True)
        await ctx.publish("worked", number)
        if happened.attempt <= self.failing[ctx.run_id, number]:
            raise ValueError(number)

    async def run(self, happening: list[Step]) -> None:
        process = Process(self.world)
        for what, given_ in happening:
            match what:
                case "send":
                    self.send(*given_)
                case "turns":
                    await self.turns(process, given_)
                case "commit":
                    process.commit()
                case "killed" | "outlived":
                    if what == "killed":
                        process.kill()
                    else:  # it was paused, say, and does not know that the group has given it up
                        self.zombies.append(process)
                    process = Process(self.world)
        while self.open():
            await self.turns(process, 1)
        for each in (process, *self.zombies):
            each.kill()
            await asyncio.gather(*each.worker._tasks, return_exceptions=True)

    def send(self, run_id: str, sender: str, failing: int) -> None:
        number = sum(run == run_id for run, _ in self.failing)
        self.failing[run_id, number] = failing
        message = {"agent": sender, "run_id": run_id, "name": "work", "recipient": "worker", "data": str(number)}
        self.world.put(self.world.desk.send, "SendMessage", **message)

    async def turns(self, process: Process, count: int) -> None:
        for _ in range(count):
            for each in (process, *self.zombies):
                each.feed()
            await asyncio.sleep(0)

    def open(self) -> bool:
        return any(self.world.desk.book.runs[RunId(run_id)].pending.get("worker") for run_id in RUNS)

    def expected(self, run_id: str) -> list[tuple[int, int]]:
        """The oracle: messages one after the other, each tried until it is done or given up."""
        return [
            (number, attempt)
            for (run, number), failing in self.failing.items()
            if run == run_id
            for attempt in range(1, min(failing + 1, ATTEMPTS) + 1)
        ]


@given(steps(), st.sampled_from((0.0, 0.0, 0.001)))
@settings(max_examples=200, deadline=None)
def test_messages_are_handled_one_after_the_other_whatever_fails(happening: list[Step], wait_s: float) -> None:
    """An attempt that failed is made again before anything that was sent later is begun, in any process; one that has
    failed is not made again; and every effect is there once, in the order of the messages."""
    story = Story(wait_s)
    asyncio.run(story.run(happening))
    event(f"kills: {sum(what == 'killed' for what, _ in happening)}")

    for run_id in RUNS:
        numbers = [number for run, number in story.failing if run == run_id]
        expected = story.expected(run_id)
        if not story.zombies:
            begun = [(number, attempt) for run, number, attempt in story.begun if run == run_id]
            assert [each for each, _ in groupby(begun)] == expected
            assert not story.known_to_be_over
        happened = [fact for fact in story.world.facts("StateWritten", "MessagePublished") if fact.run_id == run_id]
        assert [fact.key for fact in happened if fact.kind == "StateWritten"] == [f"done.{n}" for n in numbers]
        assert [fact.data for fact in happened if fact.kind == "MessagePublished"] == [str(n) for n in numbers]
        number_of = {fact.delivery_id: int(fact.data) for fact in story.world.inbox if fact.run_id == run_id}
        ended = [fact for fact in story.world.facts("HandlerFailed", "HandlerCompleted") if fact.run_id == run_id]
        assert [(number_of[fact.delivery_id], fact.attempt) for fact in ended] == expected
