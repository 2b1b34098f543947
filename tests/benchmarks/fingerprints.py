"""What fingerprints cost: of what a ledger does for a command of a handler, from its bytes to those of its facts.

The same commands are decided in a run by rules of before fingerprints, and in one by today's. Both take turns, and the
least time of each command counts, so that what else the machine does meets both alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from agents_sdk.core import ids
from agents_sdk.core.commands import Command, MessageBody, StateBody
from agents_sdk.core.facts import RefusalEvent
from agents_sdk.core.identity import Proof
from agents_sdk.core.ids import CommandId, RunId
from agents_sdk.core.ledger import apply
from agents_sdk.core.ledger.rules import DURABLE, RULES
from agents_sdk.keys import issued
from agents_sdk.wire.codec import Codec
from agents_sdk.wire.headers import fact_headers
from agents_sdk.wire.signature import Verifier, sign
from tests.benchmarks.stage import Figures, Stage
from tests.support.ledger_desk import Desk

MASTER: Final = b"m" * 32
COMMANDS: Final = 200
PAYLOAD: Final = '"' + "x" * 300 + '"'
BODIES: Final[dict[str, Callable[[int], dict[str, Any]]]] = {
    "SetState": lambda number: {"state": StateBody(key=f"k{number % 50}", value=f'"{number:06}{PAYLOAD[7:]}')},
    "GetState": lambda number: {"state": StateBody(key=f"k{number % 50}")},
    "Publish": lambda number: {"message": MessageBody(name="told", data=f'"{number:06}{PAYLOAD[7:]}')},
}


def measure(stage: Stage) -> Figures:
    """Microseconds for a write, a read and a message of 300 bytes, and the share of fingerprints in them."""
    turns = stage.size(60, 5)
    figures: Figures = {}
    shares = []
    for kind, name in (("SetState", "write"), ("GetState", "read"), ("Publish", "publish")):
        before, now = _least(stage.codec, kind, turns)
        figures |= {f"{name}_us": round(now, 2), f"{name}_fingerprint_us": round(now - before, 2)}
        shares.append((now - before) / before)
        figures[f"{name}_share"] = round(shares[-1], 3)
    return {**figures, "share": round(sum(shares) / len(shares), 3)}


def _least(codec: Codec, kind: str, turns: int) -> tuple[float, float]:
    """Microseconds a command, without and with fingerprints."""
    records = _records(codec, kind)
    best = {rules: [float("inf")] * COMMANDS for rules in (DURABLE - 1, RULES)}
    for _ in range(turns):
        for rules, least in best.items():
            best[rules] = [min(pair) for pair in zip(least, _decided(codec, records, rules), strict=True)]
    without, with_them = (sum(least) / COMMANDS * 1e6 for least in best.values())
    return without, with_them


def _desk(rules: int) -> tuple[Desk, Any]:
    desk = Desk()
    desk.register("agent")
    desk.start(rules=rules)
    return desk, desk.deliver("agent")


def _records(codec: Codec, kind: str) -> list[bytes]:
    _, delivery = _desk(RULES)
    secret = issued(MASTER, "agent", 1).secret
    commands = (
        Command(
            command_id=CommandId(ids.derive(delivery.delivery_id, str(number))),
            kind=kind,
            run_id=RunId("r"),
            agent="agent",
            correlation_id="r",
            causation_id=delivery.event_id,
            delivery_id=delivery.delivery_id,
            reply_to="client",
            key_generation=1,
            **BODIES[kind](number),
        )
        for number in range(COMMANDS)
    )
    return [sign(codec.encode(command), secret) for command in commands]


def _decided(codec: Codec, records: list[bytes], rules: int) -> list[float]:
    """Seconds of each command."""
    desk, _ = _desk(rules)
    verifier, taken = Verifier(MASTER), []
    for number, record in enumerate(records, 10):
        began = time.perf_counter()
        command = codec.decode(record)
        assert isinstance(command, Command)
        assert verifier.proof(record, command) is Proof.GOOD
        step = apply(desk.book, command, number, 10_000 * number, Proof.GOOD)
        for told in step.replies:
            codec.encode(told.reply)
        for fact in step.facts:
            codec.encode(fact)
            fact_headers(fact)
        taken.append(time.perf_counter() - began)
        assert not any(isinstance(fact, RefusalEvent) for fact in step.facts), step.facts
    return taken
