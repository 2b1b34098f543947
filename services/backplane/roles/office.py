"""An operator's view of one platform, and its voice: what the log says of names, and commands with the master key."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from agents_sdk.core import kinds
from agents_sdk.core.kinds import CommandKind
from agents_sdk.errors import BackplaneError

if TYPE_CHECKING:
    from collections.abc import Collection

    from agents_sdk.core.commands import Body
    from agents_sdk.core.roster import IdentityStatus
    from agents_sdk.settings import Settings
    from agents_sdk.wire.codec import Codec


class NoOperator(BackplaneError):
    """The platform's master key cannot be read here: only its holder grants, issues, revokes and removes."""

    code = "auth"
    hint = "run this where the ledger runs, or set identity.master_file"


class DeclaredMore(BackplaneError):
    """An agent has declared more since the operator looked: nothing was granted."""

    code = "outdated"
    hint = "look again, and approve what you see"


class Office:
    """Reads bp.agents, and sends what only an operator may. Blocking."""

    def __init__(self, settings: Settings, codec: Codec) -> None:
        self.settings = settings
        self._codec = codec

    def standings(self, *, refused: bool = True) -> list[IdentityStatus]:
        """Everybody the log knows; ``refused``: with what was refused of them, which takes as long as all refusals are
        many."""
        from agents_sdk.core.roster import roster
        from agents_sdk.history import count_partitions, read_topic
        from agents_sdk.topics import AGENTS, REFUSALS

        agents = read_topic(self.settings, self._codec, AGENTS)
        refusals = read_topic(self.settings, self._codec, REFUSALS) if refused else {}
        count = count_partitions(self.settings)
        return roster(agents, (fact for facts in refusals.values() for fact in facts), count)

    def standing(self, name: str) -> IdentityStatus | None:
        """The log's knowledge of one name."""
        return next((each for each in self.standings() if each.name == name), None)

    def master(self) -> bytes:
        """The master key. Raises NoOperator."""
        from agents_sdk.keys import read_master

        path = self.settings.identity.master_file
        master = read_master(path) if path is not None else None
        if master is None:
            raise NoOperator("the platform's master key cannot be read here")
        return master

    def say(self, *commands: tuple[CommandKind, Body]) -> None:
        """Sends commands to every partition, each once the one before was heard. The body that has an operator names
        who runs this process. Raises NoOperator, Refused, Unanswered, Unreachable."""
        self.master()
        asyncio.run(self._said(commands))

    async def _said(self, commands: tuple[tuple[CommandKind, Body], ...]) -> None:
        from agents_sdk.broadcast import broadcast
        from agents_sdk.core.identity import OPERATOR
        from agents_sdk.transport import Transport

        transport = Transport(self.settings, self._codec, "operator")
        await transport.open()
        try:
            for kind, body in commands:
                await broadcast(transport, OPERATOR, kind, signed_off(body))
        finally:
            await transport.close()

    def approve(self, name: str, seen: Collection[str] | None = None, by: str = "") -> tuple[str, ...]:
        """Grants what an agent declares besides what it was granted before; what that was, empty where it was nothing.

        Args:
            name: the agent's.
            seen: what the operator was shown and means; None: whatever it declares now.
            by: who the operator is; empty: who runs this process.

        Raises as ``say``, and:
            UnknownAgent: no agent of this name is registered.
            DeclaredMore: it asks for something that the operator has not seen.
        """
        from agents_sdk.core.ledger.rights import granting
        from agents_sdk.errors import UnknownAgent

        known = next((each for each in self.standings(refused=False) if each.name == name), None)
        if known is None or known.declared is None:
            raise UnknownAgent(f"no agent is registered as {name!r}", hint="`backplane agents list`")
        unseen = [one for one in known.missing if seen is not None and one not in seen]
        if unseen:
            raise DeclaredMore(f"{name!r} asks for more by now: {', '.join(unseen)}", agent=name, unseen=unseen)
        if known.missing:
            self.say((kinds.GRANT_RIGHTS, msgspec.structs.replace(granting(known.declared, known.grant), operator=by)))
        return known.missing


def signed_off(body: Any) -> Any:
    """The body with who runs this process as its operator, unless it names one, or has no room for it."""
    from agents_sdk.grants import whoami

    if getattr(body, "operator", None) != "":
        return body
    return msgspec.structs.replace(body, operator=whoami())
