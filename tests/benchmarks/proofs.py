"""What proofs cost: for each record that is proven or checked, and of what a ledger does for a command."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from agents_sdk.core.commands import Command, StateBody
from agents_sdk.core.facts import Reply
from agents_sdk.core.identity import Proof
from agents_sdk.core.ledger import Book, apply
from agents_sdk.core.ledger.step import Addressed
from agents_sdk.keys import issued
from agents_sdk.proofs import FACTS, Guard
from agents_sdk.topics import TOPIC_OF_FACT
from agents_sdk.wire.headers import fact_headers
from agents_sdk.wire.proof import FACT, Place, Prover, subkey
from agents_sdk.wire.signature import Verifier, derive, genuine, sign
from services.ledger.proofs import Proofs
from tests.benchmarks.stage import Figures, Stage
from tests.support.stories import Story

MASTER: Final = b"m" * 32
ROUNDS: Final = 5


def measure(stage: Stage) -> Figures:
    """Microseconds of the processor, the least of some rounds; a state write of 300 bytes is the example."""
    codec, proofs, verifier = stage.codec, Proofs(MASTER, 0), Verifier(MASTER)
    story = Story("run")
    story.send("StartRun", "agent", workflow="w", complete_when="explicit")
    fact = story.send("SetState", "agent", key="k", value='"' + "x" * 300 + '"')
    key, value, topic = b"run", codec.encode(fact), TOPIC_OF_FACT[type(fact)]
    agent = issued(MASTER, "agent", 1)
    place = Place(fact.command_offset)
    headers = [*fact_headers(fact), *proofs.fact(fact, key, value, place)]
    prover = Prover(subkey(derive(MASTER, FACTS, 0), FACT))
    guard = Guard(lambda generation: prover)
    reply = Reply(command_id="c" * 36, reply_to="client-" + "c" * 36, status="ok", value='"' + "x" * 100 + '"')
    answer, told = codec.encode(reply), Addressed(0, reply, "agent", 1)
    signed = sign(answer, agent.answers)
    count = stage.size(20_000, 2_000)

    def each(action: Callable[[], Any]) -> float:
        best = min(_seconds(action, count) for _ in range(ROUNDS))
        return round(best / count * 1e6, 2)

    bare = _command_us(stage, None, count // 4)
    proven = _command_us(stage, (proofs, verifier), count // 4)
    return {
        "fact_us": each(lambda: proofs.fact(fact, key, value, place)),
        "fact_check_us": each(lambda: guard.place(topic, 0, key, value, headers)),
        "answer_us": each(lambda: proofs.answers(story.book, told, answer, 0)),
        "answer_check_us": each(lambda: genuine(signed, agent.answers)),
        "command_us": each(lambda: sign(answer, agent.secret)),
        "ledger_us": bare,
        "ledger_proven_us": proven,
        "share": round((proven - bare) / bare, 3),
    }


def _seconds(action: Callable[[], Any], count: int) -> float:
    began = time.process_time()
    for _ in range(count):
        action()
    return time.process_time() - began


def _command_us(stage: Stage, proven: tuple[Proofs, Verifier] | None, count: int) -> float:
    """What a ledger's Python does for a state write, from its bytes to the bytes of fact and answer; signatures of
    commands were checked before there were proofs, and are in both figures."""
    codec, key = stage.codec, issued(MASTER, "agent", 1)
    records = [sign(codec.encode(_write(number)), key.secret) for number in range(count)]
    return round(min(_decided(stage, proven, records) for _ in range(ROUNDS)) / count * 1e6, 1)


def _write(number: int) -> Command:
    body = StateBody(key=f"k{number % 50}", value='"' + "x" * 300 + '"')
    return Command(
        command_id=f"command-{number}",
        kind="SetState",
        run_id="run",
        agent="agent",
        correlation_id="run",
        reply_to="client",
        state=body,
        key_generation=1,
    )


def _decided(stage: Stage, proven: tuple[Proofs, Verifier] | None, records: list[bytes]) -> float:
    codec, story, verifier = stage.codec, Story("run"), Verifier(MASTER)
    story.send("StartRun", "agent", workflow="w", complete_when="explicit")
    book: Book = story.book
    began = time.process_time()
    for number, record in enumerate(records, 10):
        command = codec.decode(record)
        assert isinstance(command, Command)
        assert verifier.proof(record, command) is Proof.GOOD
        step = apply(book, command, number, number, Proof.GOOD)
        for told in step.replies:
            encoded = codec.encode(told.reply)
            if proven is not None:
                proven[0].answers(book, told, encoded, number)
        for index, fact in enumerate(step.facts):
            value, headers = codec.encode(fact), fact_headers(fact)
            if proven is not None:
                headers += proven[0].fact(fact, b"run", value, Place(number, index))
    return time.process_time() - began
