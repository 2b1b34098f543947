"""One partition of calls, its ledger's core, two executors and a provider, in memory and step by step.

The engine, the settler and the core are the real ones. Each executor has an event loop of its own, which runs only when
the history says so: a frozen one does not run, and learns of what happened meanwhile when it is thawed. Time passes
only when the history says so. So a history is a list of actions, and the same list always gives the same world.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from agents_sdk.core.commands import Command
from agents_sdk.core.facts import AttemptEvent, CallEvent, Reply
from agents_sdk.core.kinds import CALL_ENDS
from backplane.executor import reports
from backplane.executor.engine import CallEngine
from backplane.executor.open_call import PriorAttempts
from backplane.executor.ports import Clock
from backplane.executor.reports import ClaimOf
from backplane.executor.settle import Settler
from backplane.manifests.model import Provider
from backplane.manifests.registry import RegisteredCapability, Registry
from backplane.providers.fleet import Claim
from backplane.recovery.breakers import Breakers
from backplane.recovery.decide import Route
from backplane.recovery.outcome import Answer, AttemptOutcome, AttemptRequest, Failure, Reconciled
from backplane.recovery.ranking import Ranking
from tests.support.calls import capability
from tests.support.ledger_desk import Desk

TIMEOUT_S: Final = 10.0
SETTLE_S: Final = 2.0
LEAP_S: Final = TIMEOUT_S + SETTLE_S + 1.0
"""How far time passes in one step: any lease is over after it."""
PAUSE_S: Final = 0.5
"""No pause between two attempts is longer, and nothing else is as short."""
CALL: Final = "the-call"


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose time stands still while it runs."""

    now = 0.0

    def time(self) -> float:
        return self.now

    def drain(self) -> None:
        """Runs what is ready until nothing is; the pauses between two attempts are over at once."""
        while True:
            self.call_soon(self.stop)
            self.run_forever()
            if self._ready:  # type: ignore[attr-defined]
                continue
            timers = self._scheduled  # type: ignore[attr-defined]
            if not timers or timers[0].when() > self.now + PAUSE_S:
                return
            self.now = max(self.now, timers[0].when())


class World:
    """The log, the ledger, the group and the provider."""

    def __init__(
        self, *, side_effects: str = "unsafe", reconcilable: bool = True, deadline_s: float = 600, skew_s: float = 0
    ) -> None:
        """``skew_s``: how far each executor's wall clock is ahead of that of the one before it."""
        provider = {"name": "one", "kind": "python", "function": "a:b", "timeout_seconds": TIMEOUT_S}
        provider["settle_seconds"] = SETTLE_S
        if reconcilable and side_effects == "unsafe":
            provider["reconcile"] = "a:c"
        made = capability(side_effects=side_effects, providers=[provider], timeout_seconds=deadline_s)
        self.registry = Registry([RegisteredCapability(made, "test.yaml", 7)])
        self.desk = Desk()
        self.now = 0.0
        self.queue: list[Command] = []
        """Commands in the log that are not decided yet."""
        self.calls: list[CallEvent] = []
        self.attempts: list[AttemptEvent] = []
        self.owner = ""
        self.skew_s = skew_s
        self.effects: Counter[str] = Counter()
        """Call → how often the provider had its effect."""
        self.repeated: set[str] = set()
        """Processes that asked the provider after the call's outcome was in the log: sent by them, or by anybody where
        no process was ever frozen."""
        self.ended = False
        """The call's outcome is in the log of commands."""
        self.zombies = False
        """A process was frozen."""
        self.processes: dict[str, Process] = {}
        self.born = 0
        self.desk.start()
        self._decide(lambda: self.desk.send("CallCapability", capability="probe", command_id=CALL, reply_to=""))

    def process(self, name: str) -> Process:
        """A process of this name, begun now."""
        self.born += 1
        made = self.processes[name] = Process(self, name, f"{name}-{self.born}")
        return made

    def _decide(self, put: Callable[[], Any]) -> None:
        step = put()
        self.calls += [fact for fact in step.facts if isinstance(fact, CallEvent)]
        self.attempts += [fact for fact in step.facts if isinstance(fact, AttemptEvent)]
        for addressed in step.replies:
            for process in self.processes.values():
                process.told(addressed.reply)

    def decide(self) -> None:
        """The ledger decides the next command."""
        command = self.queue.pop(0)
        self._decide(lambda: self.desk.put(command, round(self.now * 1e6) + len(self.desk.sent)))

    def close(self) -> None:
        """Ends all loops."""
        for process in self.processes.values():
            process.close()


class Process:
    """One executor: a real engine with a real settler, on a loop of its own."""

    def __init__(self, world: World, name: str, identity: str) -> None:
        self.world, self.name, self.identity = world, name, identity
        self.loop = VirtualLoop()
        self.loop.now = world.now
        self.frozen = False
        self.closed = False
        self.owns = False
        self.read = 0
        """How far it has read the calls."""
        self.answers: list[asyncio.Future[None]] = []
        """Attempts that wait for the provider."""
        self.claims: dict[str, tuple[Command, asyncio.Future[Reply]]] = {}
        self.inbox: list[Reply] = []
        self.ended = False
        """It has sent the call's outcome."""
        self.history: list[Any] = []
        """All that this process has met, in order: its state is a function of it."""
        settler = Settler(
            world.registry,
            self,  # it is all three: asking, outbox and clock
            self,
            executor=identity,
            max_result_bytes=1_000,
            clock=_Clock(self.loop, world.skew_s * world.born),
            breakers=Breakers(),
        )
        # nothing is ever committed: the group's offset is a hint, and this is the worst that it may say
        self.engine = CallEngine(settler, max_in_flight=8, done=lambda *_: None, crash=_raise)

    def run(self) -> None:
        """Lets it do all it can, unless it is frozen."""
        if self.frozen or self.closed:
            return
        self.loop.now = max(self.loop.now, self.world.now)
        if self.history[-1:] != [self.world.now]:
            self.history.append(self.world.now)
        for reply in self._take_inbox():  # first: who was frozen hears late what it has lost
            _, future = self.claims.pop(reply.command_id, (None, None))
            if future is not None and not future.done():
                future.set_result(reply)
        self.loop.drain()
        self._rebalanced()
        self._read_on()
        self.loop.drain()

    def told(self, reply: Reply) -> None:
        """The ledger's answer is on its way."""
        if reply.reply_to == self.identity:
            self.inbox.append(reply)

    def answer(self) -> None:
        """The provider answers the oldest attempt."""
        self.history.append("answer")
        self.answers.pop(0).set_result(None)

    def ask_again(self) -> None:
        """Each claim without an answer is sent again, with its id."""
        self.world.queue += [command for command, _ in self.claims.values()]

    def close(self) -> None:
        """Killed: nothing more comes of it."""
        if self.closed:
            return
        self.closed = True
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.drain()
        self.loop.close()

    def _take_inbox(self) -> list[Reply]:
        taken, self.inbox = self.inbox, []
        self.history += [(reply.command_id, reply.status, reply.code) for reply in taken]
        return taken

    def _rebalanced(self) -> None:
        owns = self.world.owner == self.name
        if owns == self.owns:
            return
        self.owns = owns
        self.history.append(("owns", owns))
        self._on_loop(self._own(owns))

    async def _own(self, owns: bool) -> None:
        self.engine.own([0] if owns else [])
        self.read = 0

    def _read_on(self) -> None:
        if self.owns and (self.read < len(self.world.calls) or not self.engine.is_ready(0)):
            self.history.append(("read", self.read, len(self.world.calls), len(self.world.attempts)))
            self._on_loop(self._deliver())

    async def _deliver(self) -> None:
        """As the executor's app: the batch, then the outcomes and attempts on record, then it is ready."""
        begin, self.read = self.read, len(self.world.calls)
        await self.engine.deliver(0, list(enumerate(self.world.calls))[begin:])
        if not self.engine.is_ready(0):
            settled = {fact.call_id for fact in self.world.calls if fact.kind in CALL_ENDS}
            past: dict[str, PriorAttempts] = {}
            for fact in self.world.attempts:
                if fact.kind != "AttemptStarted":
                    past[fact.call_id] = past.get(fact.call_id, PriorAttempts()).and_then(fact)
            self.engine.ready(0, settled, past, len(self.world.calls))

    def _on_loop(self, work: Coroutine[Any, Any, None]) -> None:
        self.loop.create_task(work)
        self.loop.drain()

    # the outbox

    def send(self, commands: Sequence[Command]) -> asyncio.Future[None]:
        """Durable at once; decided when the ledger comes to it."""
        self.world.queue += commands
        self.ended = self.ended or any(command.outcome is not None for command in commands)
        self.world.ended = self.world.ended or self.ended
        future: asyncio.Future[None] = self.loop.create_future()
        future.set_result(None)
        return future

    async def probe(self, command: Command) -> Reply | None:
        """Granted."""
        return Reply(command_id=command.command_id, reply_to="", status="ok")

    async def claim(self, fact: CallEvent, claim: ClaimOf, route: Route) -> Reply:
        """As the real one; the answer comes when the ledger has decided it."""
        command = reports.started(fact, claim, route, executor=self.identity, reply_to=self.identity, reply_partition=0)
        future: asyncio.Future[Reply] = self.loop.create_future()
        self.claims[command.command_id] = (command, future)
        self.world.queue.append(command)
        return await future

    # the fleet

    def ranking(self, contract: RegisteredCapability, rank: Any) -> Ranking:
        """The one provider."""
        return Ranking(tuple(each.name for each in contract.capability.providers), ())

    def observe(self, *_: Any) -> None:
        """Nothing depends on it."""

    async def attempt(
        self, contract: RegisteredCapability, provider: Provider, request: AttemptRequest, claim: Claim | None = None
    ) -> AttemptOutcome:
        """As the fleet's: the attempt's time runs from before its claim, and is looked at right before it is made."""
        until = self.loop.time() + request.timeout_seconds
        if claim is not None:
            await claim()
        if self.loop.time() >= until:
            return Failure(error_class="transient", code="timeout", message="too late to begin")
        self.world.effects[request.call_id] += 1
        if self.ended or (self.world.ended and not self.world.zombies):
            self.world.repeated.add(self.identity)
        answered: asyncio.Future[None] = self.loop.create_future()
        self.answers.append(answered)
        try:
            async with asyncio.timeout_at(until):
                await answered
        except TimeoutError:
            return Failure(error_class="transient", code="timeout", message="no answer", uncertain=True)
        finally:
            if answered in self.answers:
                self.answers.remove(answered)
        return Answer(result={})

    async def reconcile(
        self, contract: RegisteredCapability, provider: Provider, request: AttemptRequest
    ) -> Reconciled:
        """What the provider knows."""
        self.history.append(("reconciled", self.world.effects[request.call_id]))
        happened = bool(self.world.effects[request.call_id])
        return Reconciled("happened", Answer(result={})) if happened else Reconciled("not_happened")


class _Clock(Clock):
    def __init__(self, loop: VirtualLoop, ahead_s: float) -> None:
        self._loop = loop
        self._ahead_s = ahead_s

    def now_us(self) -> int:
        return round((self._loop.now + self._ahead_s) * 1e6)

    def monotonic(self) -> float:
        return self._loop.now

    def jitter(self) -> float:
        return 0.5


def _raise(error: Exception) -> None:
    raise error
