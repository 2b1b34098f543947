"""``backplane agents issue|rotate|revoke|remove|list``: whose commands are taken, by which key; who is still there."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from services.cli.output import CommandError, DataDir, JsonFlag, message, print_rows
from services.cli.shown import when

if TYPE_CHECKING:
    from agents_sdk.core.commands import KeyBody, RegistrationBody
    from agents_sdk.core.roster import Standing
    from agents_sdk.settings import Settings
    from agents_sdk.wire.codec import Codec

GRACE_S: Final = 3_600.0

Name = Annotated[str, typer.Argument(metavar="NAME", help="An agent's or a client's name.")]
Out = Annotated[
    Path | None, typer.Option("--out", help="Write the key to this file; default: the platform's folder of keys.")
]
"""The key file is taken by ``identity.key_file`` where the agent runs."""


def issue(name: Name, out: Out = None, data_dir: DataDir = None) -> None:
    """Write the key of an agent or client to a file, for a process that cannot read the master key."""
    _Office(data_dir).issue(name, out)


def rotate(
    name: Name,
    grace_seconds: Annotated[float, typer.Option(min=0, help="How long the old key stays valid.")] = GRACE_S,
    out: Out = None,
    data_dir: DataDir = None,
) -> None:
    """Give an agent or client a new key; the old one stays valid for a while."""
    _Office(data_dir).rotate(name, grace_seconds, out)


def revoke(name: Name, data_dir: DataDir = None) -> None:
    """Refuse all commands by the present key, and the one before; ``issue`` gives the next one."""
    _Office(data_dir).revoke(name)


def remove(name: Name, data_dir: DataDir = None) -> None:
    """Take an agent that does not come back off the register: what waits for it becomes dead letters, runs go on.

    An agent that is started again registers itself again. Its key stays valid: see ``revoke``."""
    _Office(data_dir).remove(name)


def list_agents(as_json: JsonFlag = False, data_dir: DataDir = None) -> None:
    """List who speaks here: registered or not, the key's generation and state, and what was refused of it."""
    now = int(time.time() * 1_000_000)
    rows = [
        (
            each.name,
            "agent" if each.registered else "client",
            each.key.generation,
            each.state(now),
            when(each.key.previous_ends_at) if each.key.previous_ends_at > now else "",
            ", ".join(f"{code} {count}" for code, count in sorted(each.refused.items())),
        )
        for each in _Office(data_dir).standings()
    ]
    print_rows(("name", "is", "generation", "key", "previous_until", "refused"), rows, as_json=as_json)


class _Office:
    """An operator's view of one platform, and its voice."""

    def __init__(self, data_dir: Path | None) -> None:
        from agents_sdk.settings import load_settings
        from agents_sdk.wire.registry import connect_codec

        self._settings: Settings = load_settings(**({"data_dir": data_dir} if data_dir else {}))
        self._codec: Codec = connect_codec(self._settings)

    def standings(self) -> list[Standing]:
        """Everybody the log knows."""
        from agents_sdk.core.roster import roster
        from agents_sdk.history import count_partitions, read_topic
        from agents_sdk.topics import AGENTS, REFUSALS

        agents = read_topic(self._settings, self._codec, AGENTS)
        refusals = read_topic(self._settings, self._codec, REFUSALS)
        count = count_partitions(self._settings)
        return roster(agents, (fact for facts in refusals.values() for fact in facts), count)

    def issue(self, name: str, out: Path | None) -> None:
        """The present generation, or the next where that is revoked."""
        from agents_sdk.core.identity import first_generation, reserved

        known = None if reserved(name) else self._standing(name)
        generation = known.key.generation + known.key.revoked if known else first_generation(name)
        self._give(name, generation, 0.0, out)

    def rotate(self, name: str, grace_s: float, out: Path | None) -> None:
        """The next generation."""
        known = self._standing(name)
        self._give(name, (known.key.generation if known else 1) + 1, grace_s, out)

    def revoke(self, name: str) -> None:
        """The present generation is not valid any more, nor is any before."""
        from agents_sdk.core.commands import KeyBody

        self._master()
        known = self._standing(name)
        generation = known.key.generation if known else 1
        self._say("RevokeKey", KeyBody(name=name, generation=generation))
        message(f"agents: generation {generation} of {name!r} is revoked")

    def remove(self, name: str) -> None:
        """The agent is registered no more."""
        from agents_sdk.core.commands import RegistrationBody

        known = self._standing(name)
        if known is None or not known.registered:
            raise CommandError("unknown_agent", f"no agent is registered as {name!r}", "`backplane agents list`")
        self._say("RemoveAgent", RegistrationBody(name=name))
        message(f"agents: {name!r} is removed; what waited for it is in `backplane dlq list`")

    def _standing(self, name: str) -> Standing | None:
        return next((each for each in self.standings() if each.name == name), None)

    def _give(self, name: str, generation: int, grace_s: float, out: Path | None) -> None:
        """The ledger hears of the key before anybody can use it."""
        from agents_sdk.core.commands import KeyBody
        from agents_sdk.core.identity import reserved
        from agents_sdk.keys import file_name, issued, write

        folder = self._settings.identity.keys_dir
        if out is None and folder is None:
            raise CommandError("usage", "where is the key to go?", "name a file with --out, or set identity.keys_dir")
        path = out or (folder or Path()) / file_name(name)
        master = self._master()
        if not reserved(name):  # the platform's own parts have one generation
            self._say("IssueKey", KeyBody(name=name, generation=generation, grace_ms=round(grace_s * 1000)))
        write(path, issued(master, name, generation))
        message(f"agents: generation {generation} of {name!r} is valid; its key is in {path}")

    def _master(self) -> bytes:
        from agents_sdk.keys import read_master

        path = self._settings.identity.master_file
        master = read_master(path) if path is not None else None
        if master is None:
            hint = "run this where the ledger runs, or set identity.master_file"
            raise CommandError("auth", "the platform's master key cannot be read here", hint)
        return master

    def _say(self, kind: str, body: KeyBody | RegistrationBody) -> None:
        asyncio.run(self._sent(kind, body))

    async def _sent(self, kind: str, body: KeyBody | RegistrationBody) -> None:
        from agents_sdk.broadcast import broadcast
        from agents_sdk.core.identity import OPERATOR
        from agents_sdk.transport import Transport

        transport = Transport(self._settings, self._codec, "operator")
        await transport.open()
        try:
            await broadcast(transport, OPERATOR, kind, body)
        finally:
            await transport.close()
