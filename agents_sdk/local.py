"""Calls whose attempts are made in the agent's own process: the SDK's demands on the maker.

The ledger decides such a call as any other and records the intent first; only then its caller begins. The outcome is
recorded before the caller has it. A process may die in between. Then the handler's next attempt begins the open work
again, or an executor takes it over when the time of the call is over.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol, TypeAlias

from agents_sdk.core.facts import CallEvent, Reply

if TYPE_CHECKING:
    from agents_sdk.settings import Settings
    from agents_sdk.transport import Transport
    from agents_sdk.wire.codec import Codec


class LocalCalls(Protocol):
    """The maker of the attempts."""

    def takes(self, capability: str, config: str) -> bool:
        """Whether a call of this capability with this config is made here, as things stand now."""

    async def settle(self, fact: CallEvent, spent: int, attempts: int) -> Reply | None:
        """Makes the attempts at a call whose intent is recorded, and returns the ledger's answer to the outcome. None
        where it is left to an executor. ``spent`` is what earlier attempts cost, nano-USD, and ``attempts`` the number
        of the last of them. Raises Unanswered, Unreachable."""

    async def close(self) -> None:
        """Lets go of what the attempts needed."""


OpenLocalCalls: TypeAlias = "Callable[[Settings, Codec, Transport], Awaitable[LocalCalls]]"
"""Makes them ready, with the runner's own connection."""
