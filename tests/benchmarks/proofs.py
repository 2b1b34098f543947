"""What proofs and rights cost: for each record that is proven or checked, and of what a ledger does for a command."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec

from agents_sdk.core.commands import Command, RegistrationBody, RunBody, StateBody
from agents_sdk.core.facts import RefusalEvent, Reply, StateEvent
from agents_sdk.core.identity import OPERATOR, Proof
from agents_sdk.core.ids import CommandId, RunId
from agents_sdk.core.ledger import PartitionState, apply, identity
from agents_sdk.core.ledger.rights import required
from agents_sdk.core.ledger.step import AddressedReply
from agents_sdk.keys import issued
from agents_sdk.proofs import FACTS, ProofChecker
from agents_sdk.topics import TOPIC_OF_FACT
from agents_sdk.wire.headers import fact_headers
from agents_sdk.wire.proof import FACT, Place, Prover, sealer, subkey
from agents_sdk.wire.signature import Verifier, derive, sign
from backplane.ledger.proofs import Proofs
from tests.benchmarks.stage import Figures, Stage
from tests.support.stories import Story

MASTER: Final = b"m" * 32
ROUNDS: Final = 5
TURNS: Final = 12
NOW: Final = 1_767_261_600_000_000


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
    guard = ProofChecker(lambda generation: prover)
    reply = Reply(
        command_id=CommandId("c" * 36), reply_to="client-" + "c" * 36, status="ok", value='"' + "x" * 100 + '"'
    )
    answer, told = codec.encode(reply), AddressedReply(0, reply, "agent", 1)
    signed = sealer(agent.answers).sign(answer)
    count = stage.size(20_000, 2_000)

    def each(action: Callable[[], Any]) -> float:
        best = min(_seconds(action, count) for _ in range(ROUNDS))
        return round(best / count * 1e6, 2)

    costs = _command_us(stage, Costs(proofs, verifier), count // 4)
    return {
        "fact_us": each(lambda: proofs.fact(fact, key, value, place)),
        "fact_check_us": each(lambda: guard.place(topic, 0, key, value, headers)),
        "answer_us": each(lambda: proofs.answers(story.book, told, answer, 0)),
        "answer_check_us": each(lambda: sealer(agent.answers).genuine(signed)),
        "command_us": each(lambda: sign(answer, agent.secret)),
        "rights_us": round(costs["rights"] - costs["bare"], 2),
        "proofs_us": round(costs["proofs"] - costs["bare"], 2),
        "ledger_us": costs["bare"],
        "ledger_proven_us": costs["both"],
        "proofs_share": round((costs["proofs"] - costs["bare"]) / costs["bare"], 3),
        "rights_share": round((costs["rights"] - costs["bare"]) / costs["bare"], 3),
    }


def _seconds(action: Callable[[], Any], count: int) -> float:
    began = time.process_time()
    for _ in range(count):
        action()
    return time.process_time() - began


class Costs(NamedTuple):
    """What makes proofs and checks signatures."""

    proofs: Proofs
    verifier: Verifier


def _command_us(stage: Stage, costs: Costs, count: int) -> dict[str, float]:
    """What a ledger's Python does for a state write, from its bytes to the bytes of fact and answer, in microseconds:
    bare, with rights, with proofs, and with both. Signatures, and ids that are spent, are in all. The kinds take turns,
    so that what else the machine does meets all alike; the least of each counts."""
    key = issued(MASTER, "agent", 1)
    records = [sign(stage.codec.encode(_write(number)), key.secret) for number in range(count)]
    kinds = {
        name: (rights, proven)
        for name, rights, proven in (
            *(("bare", False, False), ("rights", True, False), ("proofs", False, True)),
            ("both", True, True),
        )
    }
    best = dict.fromkeys(kinds, float("inf"))
    for _ in range(TURNS):
        for name, (rights, proven) in kinds.items():
            best[name] = min(best[name], _decided(stage, costs, records, rights=rights, proven=proven))
    return {name: round(seconds / count * 1e6, 2) for name, seconds in best.items()}


def _write(number: int) -> Command:
    body = StateBody(key=f"k{number % 50}", value='"' + "x" * 300 + '"')
    return Command(
        command_id=CommandId(f"0193aaaa-0000-7000-8000-{number:012}"),
        kind="SetState",
        run_id=RunId("run"),
        agent="agent",
        correlation_id="run",
        reply_to="client",
        state=body,
        key_generation=1,
        issued_at=NOW,
    )


def _book(rights: bool) -> PartitionState:
    """Of a run that an agent of five rights of each kind takes part in."""
    book = PartitionState()
    some = ["plan", "notes.*", "draft", "k?", "k??"]
    declared = RegistrationBody(name="agent", reads=some, writes=some, workflows=["w"], publishes=some)
    commands = [identity.required(0), *([required(0, "first")] if rights else [])]
    commands += [
        _sent("RegisterAgent", "", registration=declared),
        _sent("StartRun", "run", agent=OPERATOR, run=RunBody(workflow="w", complete_when="explicit")),
    ]
    for number, command in enumerate(commands):
        step = apply(book, msgspec.structs.replace(command, issued_at=NOW), number, NOW, Proof.GOOD)
        assert all(not isinstance(fact, RefusalEvent) for fact in step.facts), step.facts
    return book


def _sent(kind: str, run_id: str, agent: str = "agent", **body: Any) -> Command:
    generation = 0 if agent == OPERATOR else 1
    return Command(
        command_id=CommandId(kind),
        kind=kind,
        run_id=RunId(run_id),
        agent=agent,
        correlation_id="",
        key_generation=generation,
        issued_at=NOW,
        **body,
    )


def _decided(stage: Stage, costs: Costs, records: list[bytes], *, rights: bool, proven: bool) -> float:
    codec, book, verifier = stage.codec, _book(rights), Verifier(MASTER)
    began = time.process_time()
    for number, record in enumerate(records, 10):
        command = codec.decode(record)
        assert isinstance(command, Command)
        assert verifier.proof(record, command) is Proof.GOOD
        step = apply(book, command, number, NOW, Proof.GOOD)
        for told in step.replies:
            encoded = codec.encode(told.reply)
            if proven:
                costs.proofs.answers(book, told, encoded, number)
        for index, fact in enumerate(step.facts):
            value, headers = codec.encode(fact), fact_headers(fact)
            if proven:
                headers += costs.proofs.fact(fact, b"run", value, Place(number, index))
    assert isinstance(step.facts[0], StateEvent), step.facts
    return time.process_time() - began
