"""The questions people ask, of a store with ten million facts: what a run cost, what happened in it, where a value came
from twelve writers back.

A hundred runs are written as the sink writes them, then copied inside the store under other ids until there are enough:
ten million facts made one by one in Python would take the better part of an hour.
"""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import uuid_utils

from agents_sdk.topics import TOPIC_OF_FACT
from backplane.insight import answers
from backplane.insight.lineage import Lineage, Node
from backplane.sink.reconcile import reconcile
from backplane.sink.rows import Record
from backplane.sink.writer import Writer
from backplane.store.engine import Engine
from backplane.store.migrate import migrate
from tests.benchmarks.stage import Figures, Stage, Stopwatch, quantiles
from tests.support.stories import NOON, Story

FACTS: Final = int(os.environ.get("BENCH_FACTS", "10000000"))
"""``BENCH_FACTS=1000000`` for a smaller store."""
HOPS: Final = 14
RUNS: Final = 100
ASKED: Final = 200
IDS: Final = ("run_id", "root_run_id", "event_id", "causation_id", "command_id", "call_id", "message_id", "delivery_id")
COLUMNS: Final = {"events": IDS, "edges": ("run_id", "child_event", "parent_event")}


def measure(stage: Stage) -> Figures:
    """p50, p95 and p99 of each question, each time of another run."""
    wanted = stage.size(FACTS, 100_000)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        engine = Engine(Path(folder))
        try:
            client = engine.client("")
            migrate(client, "bench")
            client.close()
            client = engine.client("bench")
            facts, runs = _fill(client, wanted)
            chosen = [random.Random(number).choice(runs) for number in range(stage.size(ASKED, 20))]
            found: Figures = {"facts": facts}
            for name, question in QUESTIONS.items():
                found |= {f"{name}_{at}": value for at, value in quantiles(_asked(question, client, chosen)).items()}
            found["cost_of_all_p50_ms"] = quantiles(_asked(_cost_of_all, client, chosen[:5]))["p50_ms"]
            found["reconcile_p50_ms"] = quantiles(_asked(_reconcile, client, chosen[:3]))["p50_ms"]
            client.close()
            return found
        finally:
            engine.close()


def _asked(question: Callable[[Any, str], None], client: Any, runs: list[str]) -> list[float]:
    seconds = []
    for run in runs:
        watch = Stopwatch()
        question(client, run)
        seconds.append(watch.seconds)
    return seconds


def _fill(client: Any, wanted: int) -> tuple[int, list[str]]:
    """Facts stored, and the ids of the runs."""
    writer = Writer(client, "bench")
    made = [story for _ in range(RUNS) for story in [chain(str(uuid_utils.uuid7()))]]
    lying = [
        Record(TOPIC_OF_FACT[type(fact)], 0, number, fact.at // 1000, fact)
        for number, fact in enumerate(fact for story in made for fact in story.facts)
    ]
    writer.write(writer.prepare(lying))
    copies = max(1, wanted // len(lying))
    for number in range(1, copies):
        for table, ids in COLUMNS.items():
            renamed = (f"if({name} = '', '', concat('{number:08x}', substring({name}, 9))) AS {name}" for name in ids)
            moved = f"offset + {number * len(lying)} AS offset"
            first = f"(SELECT * FROM {table} WHERE offset < {len(lying)})"
            client.command(f"INSERT INTO {table} SELECT * REPLACE ({', '.join(renamed)}, {moved}) FROM {first}")
    [(count,)] = client.query("SELECT count() FROM events").result_rows
    runs = [story.run_id for story in made]
    return count, [f"{number:08x}{run[8:]}" for number in range(1, copies) for run in runs] or runs


def chain(run_id: str) -> Story:
    """Agents in a row: each reads what the one before wrote, calls a model, which fails once in four, and writes."""
    story = Story(run_id, NOON)
    for number in range(HOPS):
        story.register(f"agent-{number}", [f"step-{number}"])
    story.send("StartRun", "client", workflow="chain", complete_when="explicit", input="null")
    story.send("SetState", "client", key="value-0", value='"begin"')
    story.send("Publish", "client", name="step-0", data="{}")
    for number in range(HOPS):
        agent = f"agent-{number}"
        job = story.delivered(agent, f"step-{number}")
        story.send("GetState", agent, handling=job, key=f"value-{number}")
        call = story.send("CallCapability", agent, handling=job, capability="text_generation", params="{}")
        tries = 2 if number % 4 == 0 else 1
        for attempt in range(1, tries):
            story.attempt(call, attempt, "first", error_class="overloaded", error_message="529", price_id="free")
        story.attempt(call, tries, "second", model="small", cost_nano_usd=1_000_000, price_id="p", latency_us=900_000)
        story.outcome(
            call, result='{"text":"' + "x" * 300 + '"}', provider="second", attempts=tries, latency_us=900_000
        )
        used = [f"value-{number}"]
        story.send("RecordDecision", agent, handling=job, action="go_on", rationale="as asked", context_used=used)
        story.send("SetState", agent, handling=job, key=f"value-{number + 1}", value='"' + "x" * 300 + '"')
        story.send("Publish", agent, handling=job, name=f"step-{number + 1}", data="{}")
        story.send("CompleteHandler", agent, handling=job, attempt=1)
    return story


def _cost(client: Any, run: str) -> None:
    assert len(answers.costs(client, "agent", run)) == HOPS


def _cost_of_all(client: Any, _: str) -> None:
    assert len(answers.costs(client, "agent")) == HOPS


def _reconcile(client: Any, _: str) -> None:
    assert sum(account.rows for account in reconcile(client, None).accounts) > 0


def _timeline(client: Any, run: str) -> None:
    assert len(answers.timeline(client, run)) > HOPS * 8


def _lineage(client: Any, run: str) -> None:
    root = Lineage(answers.timeline(client, run), answers.Archive(client)).up(f"value-{HOPS}")
    assert root is not None
    assert _depth(root) >= 12


def _depth(node: Node) -> int:
    return (node.relation in ("wrote", "read")) + max(map(_depth, node.rests_on), default=0)


QUESTIONS: Final[dict[str, Callable[[Any, str], None]]] = {"cost": _cost, "timeline": _timeline, "lineage": _lineage}
