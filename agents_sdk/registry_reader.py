"""The capabilities that a client can call: the registry, read when it is first asked for, and followed until the client
closes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agents_sdk.follower import Follower
    from agents_sdk.toolbox import Toolbox
    from agents_sdk.transport import Transport

EVERY_NAME = ("*",)
"""A client has no declaration. The ledger refuses a call that its grant does not allow."""


class RegistryReader:
    """The toolbox of one client. Belongs to one event loop."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._follower: Follower | None = None
        self._toolbox: Toolbox | None = None

    async def toolbox(self, transport: Transport) -> Toolbox:
        """The registry as it is now. Raises Unreachable, TopicsNotApplied."""
        from agents_sdk.discovery import Discovery
        from agents_sdk.follower import Follower
        from agents_sdk.registrar import trust
        from agents_sdk.toolbox import Toolbox

        async with self._lock:
            if self._toolbox is None:
                follower = Follower(transport.settings, transport.codec, trust(transport.settings))
                await asyncio.to_thread(follower.open)
                follower.follow(lambda changed: None)
                self._follower = follower
                self._toolbox = Toolbox(Discovery(follower.catalogue), EVERY_NAME)
            return self._toolbox

    async def close(self) -> None:
        """Ends reading."""
        async with self._lock:
            follower, self._follower, self._toolbox = self._follower, None, None
            if follower is not None:
                await asyncio.to_thread(follower.close)
