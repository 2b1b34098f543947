"""A run's record as a file: what replay needs of it, in JSON, so that runs of today can be replayed by later code.

``python -m tests.support.recorded RUN FILE --data-dir D`` makes one of a run in a platform that runs.
"""

from __future__ import annotations

import argparse
import gzip
from pathlib import Path
from typing import Any

import msgspec

from agents_sdk.core import facts as shapes
from agents_sdk.core.facts import AgentEvent, ContractEvent, Fact
from agents_sdk.core.ids import RunId
from agents_sdk.core.ledger import Limits
from agents_sdk.core.replay import LoggedCommand, Verdict, replay


class Recorded(msgspec.Struct, frozen=True):
    """All that Kafka has about one run, in the order of the log."""

    run_id: str
    max_value_bytes: int
    commands: list[LoggedCommand]
    agents: list[AgentEvent]
    facts: list[Fact]
    contracts: list[ContractEvent] = []

    def __repr__(self) -> str:
        """Short: hypothesis prints it."""
        return f"Recorded({self.run_id!r}, {len(self.commands)} commands, {len(self.facts)} facts)"

    def replayed(self, **changed: Any) -> Verdict:
        """The verdict on this record, with ``facts``, ``commands``, ``agents`` or ``contracts`` changed."""
        record = msgspec.structs.replace(self, **changed)
        limits = Limits(max_value_bytes=record.max_value_bytes)
        return replay(RunId(record.run_id), record.commands, [*record.agents, *record.contracts], record.facts, limits)


def dump(record: Recorded, file: Path) -> None:
    """Writes it, one item a line, compressed; the same record gives the same bytes."""
    plain: dict[str, Any] = msgspec.to_builtins(record)
    plain["facts"] = [[type(fact).__name__, msgspec.to_builtins(fact)] for fact in record.facts]
    file.write_bytes(gzip.compress(msgspec.json.encode(plain), mtime=0))


def load(file: Path) -> Recorded:
    """Reads it. Raises msgspec.ValidationError where the shapes of today do not take what was recorded."""
    plain: dict[str, Any] = msgspec.json.decode(gzip.decompress(file.read_bytes()))
    return Recorded(
        run_id=plain["run_id"],
        max_value_bytes=plain["max_value_bytes"],
        commands=msgspec.convert(plain["commands"], list[LoggedCommand]),
        agents=msgspec.convert(plain["agents"], list[AgentEvent]),
        facts=[msgspec.convert(fact, getattr(shapes, name)) for name, fact in plain["facts"]],
        contracts=msgspec.convert(plain.get("contracts", []), list[ContractEvent]),
    )


def main() -> None:
    """Records a run."""
    from agents_sdk.history import read_agents, read_commands, read_contracts, read_run
    from agents_sdk.settings import load_settings
    from agents_sdk.wire.registry import connect_codec

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("file", type=Path)
    parser.add_argument("--data-dir", type=Path)
    given = parser.parse_args()
    settings = load_settings(**({"data_dir": given.data_dir} if given.data_dir else {}))
    codec = connect_codec(settings)
    commands = [LoggedCommand(*found) for found in read_commands(settings, codec, given.run)]
    agents = [a for a in read_agents(settings, codec, given.run) if a.command_offset < commands[-1].offset]
    contracts = [c for c in read_contracts(settings, codec, given.run) if c.command_offset < commands[-1].offset]
    facts = read_run(settings, codec, given.run, whole=True)
    dump(Recorded(given.run, settings.limits.max_value_bytes, commands, agents, facts, contracts), given.file)


if __name__ == "__main__":
    main()
