"""Runs agents in this process: registers them, and gives each a worker."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from agents_sdk.agent import Agent
from agents_sdk.answers import detail
from agents_sdk.broadcast import broadcast
from agents_sdk.core import kinds
from agents_sdk.grants import grant_declared
from agents_sdk.patience import Patience
from agents_sdk.worker import CONCURRENCY, Worker

if TYPE_CHECKING:
    from agents_sdk.deaths import Deaths
    from agents_sdk.follower import Follower
    from agents_sdk.local import LocalCalls, OpenLocalCalls
    from agents_sdk.peers import Peers
    from agents_sdk.settings import Settings
    from agents_sdk.transport import Transport
    from agents_sdk.wire.codec import Codec

log = logging.getLogger("backplane.agents")


class AgentsRunner:
    """Runs some agents in this process until ``stop``. Processes that run the same agent share its work."""

    def __init__(
        self,
        agents: Sequence[Agent],
        settings: Settings | Callable[[], Settings] | None = None,
        *,
        concurrency: int = CONCURRENCY,
        instance: str = "",
        local: OpenLocalCalls | None = None,
        trust: bool = False,
    ) -> None:
        """``settings`` None: where ``load_settings`` finds them. A function is asked again while the platform is away,
        since a local one says where it is only when it runs. ``concurrency``: runs each agent works on at a time.
        ``instance``: a name that this process keeps over restarts. It gets its work back at once after a kill, or
        others of the same agents on this machine do. Without a name that takes 6 s. ``local``: makes some calls in
        this process; None: executors make all. ``trust``: grants the agents what they declare, which takes the
        platform's master key.

        Raises:
            ValueError: no agents, two of one name, or one without handlers.
        """
        if not agents:
            raise ValueError("no agents to run")
        names = [agent.name for agent in agents]
        for agent in agents:
            if names.count(agent.name) > 1:
                raise ValueError(f"two agents are named {agent.name!r}")
            if not agent.subscriptions:
                raise ValueError(f"agent {agent.name!r} has no handlers; give it some with @agent.on(…)")
        self.agents = tuple(agents)
        self._settings = settings
        self._concurrency = concurrency
        self._instance = instance
        self._open_local = local
        self._trust = trust
        self._local: LocalCalls | None = None
        self._transport: Transport | None = None
        self._follower: Follower | None = None
        self._workers: list[Worker] = []
        self._deaths: Deaths | None = None
        self._peers: Peers | None = None
        self._stopping: asyncio.Event | None = None

    async def run(self, ready: Callable[[], None] | None = None) -> None:
        """Runs until ``stop`` is called; ``ready`` is called when all agents are registered and listening. A platform
        that cannot be reached is waited for.

        Raises:
            NotConfigured, KeyUnusable, Refused: an operator has to mend something.
            TopicsNotApplied, SchemasNotApplied: nobody has applied them for a minute.
            InstanceTaken: another process runs under the same ``instance``.
        """
        self._stopping = asyncio.Event()
        try:
            if not await self._started(self._stopping):
                return
            if ready is not None:
                ready()
            while not self._stopping.is_set():
                for worker in self._workers:
                    worker.check()
                try:
                    await asyncio.wait_for(self._stopping.wait(), 0.5)
                except TimeoutError:
                    continue
        finally:
            await self.close()

    def stop(self) -> None:
        """Makes ``run`` end: running handlers get 8 s, what they do not finish is delivered again elsewhere."""
        if self._stopping is not None:
            self._stopping.set()

    async def _started(self, stopping: asyncio.Event) -> bool:
        """Whether ``start`` has done its work; not where it was stopped before."""
        starting = asyncio.create_task(self.start())
        stopped = asyncio.create_task(stopping.wait())
        try:
            await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                return False
            await starting
            return True
        finally:
            for task in (starting, stopped):
                task.cancel()
            await asyncio.gather(starting, stopped, return_exceptions=True)

    async def start(self) -> None:
        """Connects, registers and begins to listen; waits for the platform for as long as that takes. Raises as
        ``run``."""
        patience = Patience(log)
        with patience.together():
            await self._connect(patience)

    async def _connect(self, patience: Patience) -> None:
        from agents_sdk.discovery import Discovery
        from agents_sdk.follower import Follower
        from agents_sdk.registrar import trust
        from agents_sdk.toolbox import Toolbox
        from agents_sdk.transport import Transport
        from agents_sdk.wire.topics_admin import ensure_inbox

        settings, codec = await patience.until(self._found)
        transport = self._transport = Transport(settings, codec, "agents")
        follower = self._follower = Follower(settings, codec, trust(settings))
        # The inboxes are there before the ledger knows the agents and puts something in.
        inboxes = (
            patience.until(partial(asyncio.to_thread, ensure_inbox, settings, agent.name)) for agent in self.agents
        )
        followed = patience.until(partial(asyncio.to_thread, follower.open))
        await asyncio.gather(patience.until(transport.open), followed, *inboxes)
        follower.follow(lambda changed: None)
        discovery = Discovery(follower.catalogue)
        if self._open_local is not None:
            self._local = await patience.until(partial(self._open_local, settings, codec, transport))
        missing = await asyncio.gather(*(register(transport, agent, patience) for agent in self.agents))
        if self._trust:
            wanting = [agent for agent, each in zip(self.agents, missing, strict=True) if each]
            await asyncio.gather(*(grant_declared(transport, agent.registration()) for agent in wanting))
        deaths = self._deaths = self._known_deaths(settings)
        self._workers = [
            Worker(
                agent,
                transport,
                self._concurrency,
                self._instance,
                Toolbox(discovery, agent.capabilities),
                self._local,
                deaths,
            )
            for agent in self.agents
        ]
        await self._join_peers(settings)
        await asyncio.gather(*(worker.start() for worker in self._workers))

    async def _join_peers(self, settings: Settings) -> None:
        """Processes of the same agents in this data directory see each other die. The groups know only a process that
        has a name. The deliveries of a dead one go to the others at once."""
        from agents_sdk.inbox import group_of, static_member
        from agents_sdk.peers import Peers
        from agents_sdk.wire.eviction import evict_all

        if not self._instance:
            return
        names = sorted(agent.name for agent in self.agents)

        def evict(instance: str) -> None:
            evict_all(settings.kafka, [(group_of(name), static_member(name, instance)) for name in names])

        self._peers = Peers(settings.data_dir, f"agents {', '.join(names)}", self._instance, evict)
        await asyncio.to_thread(self._peers.open)

    def _known_deaths(self, settings: Settings) -> Deaths | None:
        """At which deliveries processes under this instance's name died; None for a process without one."""
        from agents_sdk.deaths import Deaths

        if not self._instance:
            return None
        try:
            folder = Path(settings.data_dir) / "instances"
            folder.mkdir(parents=True, exist_ok=True)
            return Deaths(folder / f"{hashlib.sha256(self._instance.encode()).hexdigest()[:32]}.deliveries")
        except OSError as error:
            log.warning("a message that kills its process cannot be recognised: %s", error)
            return None

    async def _found(self) -> tuple[Settings, Codec]:
        """Where the platform is now, and what its registry has."""
        from agents_sdk.settings import load_settings
        from agents_sdk.wire.registry import connect_codec

        given = self._settings or load_settings
        settings = given() if callable(given) else given
        return settings, await asyncio.to_thread(connect_codec, settings)

    async def close(self) -> None:
        """Lets running handlers end, commits and disconnects."""
        workers, self._workers = self._workers, []
        await asyncio.gather(*(worker.close() for worker in workers))
        if self._peers is not None:
            self._peers.close()
            self._peers = None
        if self._deaths is not None:
            self._deaths.close()
            self._deaths = None
        if self._local is not None:
            await self._local.close()
        if self._follower is not None:
            await asyncio.to_thread(self._follower.close)
        if self._transport is not None:
            await self._transport.close()


async def register(transport: Transport, agent: Agent, patience: Patience | None = None) -> list[str]:
    """Registers an agent's declaration in every partition; the same one again changes nothing. The part of it that was
    not granted, each as right and glob. With ``patience`` it waits for the platform. Raises Refused; Unanswered,
    Unreachable without patience."""
    replies = await broadcast(transport, agent.name, kinds.REGISTER_AGENT, agent.registration(), patience=patience)
    missing = sorted({each for reply in replies for each in detail(reply).get("not_granted", ())})
    if missing:
        request = f"{', '.join(missing)}; `backplane agents approve {agent.name}` grants it"
        log.warning("agent %s asks for what was not granted: %s", agent.name, request)
    return missing


def run_until_signalled(runner: AgentsRunner, ready: Callable[[], None] | None = None) -> None:
    """Runs agents until SIGTERM or SIGINT; blocks. Raises what ``AgentsRunner.run`` raises."""
    import signal

    async def main() -> None:
        loop = asyncio.get_running_loop()
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, runner.stop)
        await runner.run(ready)

    asyncio.run(main())
