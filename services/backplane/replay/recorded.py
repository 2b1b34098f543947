"""Reads a run's record from Kafka and hands it to the pure replay. All decisions are in ``agents_sdk.core.replay``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from agents_sdk.core import kinds
from agents_sdk.core.facts import Fact
from agents_sdk.core.ids import RunId
from agents_sdk.core.ledger import Limits
from agents_sdk.core.replay import Declared, LoggedCommand, Verdict, replay
from agents_sdk.errors import UnknownRun
from agents_sdk.history import read_agents, read_commands, read_contracts, read_run

if TYPE_CHECKING:
    from agents_sdk.settings import Settings
    from agents_sdk.wire.codec import Codec

BEHIND_S: Final = 10.0
"""How long facts may lag their commands: a transaction, or a ledger's takeover after a crash."""
LOOK_AGAIN_S: Final = 0.2


def replay_run(settings: Settings, codec: Codec, run_id: str, behind_s: float = BEHIND_S) -> Verdict:
    """Decides the commands of ``run_id`` again and compares. Of a run that goes on, what its last committed fact
    answers is compared; of one that ended, every command, late ones included.

    Raises:
        UnknownRun: Kafka has no fact of it.
        Unreachable, TopicsNotApplied: no broker, or not ours.
        Undecodable: a fact of this run cannot be read.
    """
    limits = Limits(max_value_bytes=settings.limits.max_value_bytes)
    declared: list[Declared] = [*read_agents(settings, codec, run_id), *read_contracts(settings, codec, run_id)]
    deadline = time.monotonic() + behind_s
    while True:
        facts = read_run(settings, codec, run_id, whole=True)
        if not facts:
            raise UnknownRun(f"no run {run_id!r} is in Kafka", hint="`backplane runs` lists them", run=run_id)
        verdict = _replayed(settings, codec, run_id, facts, declared, limits)
        difference = verdict.difference
        # A command whose facts are missing may be one that is being decided at this moment.
        if difference is None or difference.recorded is not None or time.monotonic() >= deadline:
            return verdict
        time.sleep(LOOK_AGAIN_S)


def _replayed(
    settings: Settings,
    codec: Codec,
    run_id: str,
    facts: Sequence[Fact],
    declared: Sequence[Declared],
    limits: Limits,
) -> Verdict:
    ended = any(fact.kind in kinds.RUN_ENDS for fact in facts)
    last = None if ended else max(fact.command_offset for fact in facts)
    commands = [LoggedCommand(*found) for found in read_commands(settings, codec, run_id, last_offset=last)]
    return replay(RunId(run_id), commands, declared, facts, limits)
