"""Runs the calls of the partitions this process owns: at most ``max_in_flight`` at a time, each settled once.

It knows neither Kafka nor faust. The shell says which partitions are ours (``own``) and hands over their records in
order (``deliver``). It says for each partition when it is known which calls of the past are settled (``ready``). Until
then calls are held, because a re-read request may have its outcome further on. ``done`` gets how far a partition is
finished; a successor begins there.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from agents_sdk.core import kinds
from agents_sdk.core.facts import CallEvent
from agents_sdk.core.ids import CallId
from agents_sdk.deaths import Deaths, ProcessDied, noted
from agents_sdk.lanes import OffsetTracker
from backplane.executor.open_call import NO_ATTEMPTS, PriorAttempts
from backplane.executor.settle import OutboxBroken, SettledElsewhere, Settler
from backplane.manifests.registry import UnknownCapability

log = logging.getLogger("backplane.executor")

REPORTED_LIMIT: Final = 20_000
"""Calls remembered whose outcome was sent: more than a partition that comes back may bring again, 100 bytes each."""
CALLS_OF_A_KIND: Final = 3
"""Calls of one manifest that were put aside one after the other, from which on its calls stop: each would cost two
deaths. A manifest that was changed begins again."""
KIND_S: Final = 600.0
"""How long its calls are made no more; then one shows whether it still kills."""
BACKLOG_FACTOR: Final = 2
"""Calls waiting per slot before ``deliver`` makes its caller wait: enough to refill slots at once, bounded memory."""


@dataclass(eq=False, slots=True)
class _Job:
    partition: _Partition
    offset: int
    fact: CallEvent
    past: PriorAttempts = NO_ATTEMPTS
    task: asyncio.Task[None] | None = None
    dropped: bool = False
    waited: bool = False
    """It was parked for as long as the call could wait."""
    reported: bool = False
    """An outcome of the call may have been sent before, by this process or a predecessor."""


@dataclass(eq=False, slots=True)
class _Partition:
    number: int
    assignment: int
    """Which one of this process it came with: an incarnation is a process and an assignment."""
    progress: OffsetTracker = field(default_factory=OffsetTracker)
    jobs: dict[str, _Job] = field(default_factory=dict)
    held: list[_Job] | None = field(default_factory=list)
    """Calls that wait for ``ready``; None afterwards."""
    settled: set[str] = field(default_factory=set)
    """Calls whose outcome is known and whose request may still come: of those held, and after them up to ``until``."""
    past: dict[str, PriorAttempts] = field(default_factory=dict)
    """Call → its attempts of before; of requests below ``until`` that are still to come."""
    until: int = 0
    """Where the partition ended when it was taken over: a predecessor may have made the calls below."""


class CallEngine:
    """The executor without its shell."""

    def __init__(
        self,
        settler: Settler,
        *,
        max_in_flight: int,
        done: Callable[[int, int], None],
        crash: Callable[[Exception], None],
        deaths: Deaths | None = None,
        put_aside: Callable[[CallEvent, str], None] = lambda *_: None,
    ) -> None:
        """``done(partition, offset)``: everything below the offset is finished. ``crash(error)``: the way to the ledger
        is broken and this process is of no use. ``deaths`` knows at which calls executors died. ``put_aside`` gets each
        call that does not begin again for that, and why."""
        self._deaths = deaths
        self._put_aside = put_aside
        self._settler = settler
        self._max_in_flight = max_in_flight
        self._done = done
        self._crash = crash
        self._partitions: dict[int, _Partition] = {}
        self._waiting: deque[_Job] = deque()
        self._running: set[_Job] = set()
        self._orphans: dict[str, _Job] = {}
        """Unsafe calls of lost partitions, still running: delivered again, they must not start a second time."""
        self._reported: dict[str, None] = {}
        """Calls whose outcome was sent from here and was not read in the log yet. Delivered again, such a call is begun
        only when it is known that the outcome did not count."""
        self._assignments = 0
        self._parked: dict[_Job, asyncio.TimerHandle] = {}
        """Calls of paused capabilities, and those that their callers make themselves."""
        self._room = asyncio.Event()
        self._room.set()
        self._stopping = False

    def own(self, partitions: Collection[int]) -> None:
        """These are ours now, and no others. Calls of a lost partition are cancelled, but for unsafe ones, which may be
        in the middle of their effect. A partition we had before keeps its calls and its place."""
        for number in [number for number in self._partitions if number not in partitions]:
            lost = self._partitions.pop(number)
            for job in list(lost.jobs.values()):
                self._drop(job)
                if job.task is not None and not self._settler.may_cancel(job.fact):
                    self._orphans[job.fact.call_id] = job
        gained = [number for number in partitions if number not in self._partitions]
        self._assignments += bool(gained)
        for number in gained:
            self._partitions[number] = _Partition(number, self._assignments)
        for number in partitions:
            self.report(number)

    def is_ready(self, partition: int) -> bool:
        """Whether the partition is ours and its calls are started as they come."""
        owned = self._partitions.get(partition)
        return owned is not None and owned.held is None

    def assignment(self, partition: int) -> int:
        """Which assignment of this process the partition came with; 0: it is not ours."""
        owned = self._partitions.get(partition)
        return owned.assignment if owned is not None else 0

    def next(self, partition: int) -> int:
        """All records of the partition below this offset were delivered."""
        owned = self._partitions.get(partition)
        return owned.progress.next if owned is not None else 0

    async def deliver(self, partition: int, records: Iterable[tuple[int, CallEvent | None]]) -> None:
        """Takes records of a partition in order of offset; None is a record that could not be read. Records that were
        delivered before are ignored. Returns when there is room for more."""
        owned = self._partitions.get(partition)
        if owned is None:
            return
        for offset, fact in records:
            if offset >= owned.progress.next:
                self._take(owned, offset, fact)
        self._past_is_over(owned)
        self._pump()
        self.report(partition)
        await self._room.wait()

    def held(self, partition: int) -> list[CallEvent]:
        """The calls of the partition that wait for its past to be known."""
        owned = self._partitions.get(partition)
        return [job.fact for job in owned.held] if owned is not None and owned.held is not None else []

    def ready(
        self,
        partition: int,
        settled: Collection[str] = (),
        past: Mapping[str, PriorAttempts] = MappingProxyType({}),
        until: int = 0,
    ) -> None:
        """The past of the partition is known up to the offset ``until``. ``settled`` are the calls with an outcome that
        was not delivered yet; ``past`` is that of the others, where they have one. Calls that a predecessor may have
        made are begun when the ledger has decided what it said of them."""
        owned = self._partitions.get(partition)
        if owned is None or owned.held is None:
            return
        held, owned.held = owned.held, None
        owned.settled |= set(settled)
        owned.past, owned.until = dict(past), until
        for job in held:
            if job.fact.call_id in owned.settled:
                self._end(job)
            else:
                self._inherit(owned, job)
                self._waiting.append(job)
        self._past_is_over(owned)
        self._pump()
        self.report(partition)

    def report(self, partition: int) -> None:
        """Tells ``done`` how far the partition is."""
        owned = self._partitions.get(partition)
        lowest = owned.progress.committable() if owned is not None else None
        if lowest is not None:
            self._done(partition, lowest)

    def backlog(self, partition: int) -> int:
        """Calls of the partition that are not finished."""
        owned = self._partitions.get(partition)
        return owned.progress.unfinished if owned else 0

    @property
    def in_flight(self) -> int:
        """Calls being settled."""
        return len(self._running)

    async def drain_unsafe(self, grace_seconds: float) -> None:
        """Gives running unsafe calls this long to settle, before partitions are handed over. Otherwise the next owner
        would find their attempts claimed and have to call their outcome unknown."""
        tasks = [job.task for job in self._running if job.task and not self._settler.may_cancel(job.fact)]
        if tasks:
            await asyncio.wait(tasks, timeout=grace_seconds)

    async def stop(self, grace_seconds: float) -> None:
        """Starts nothing more, gives running calls this long to settle, cancels the rest: their requests stay
        unfinished and are executed by the next owner."""
        self._stopping = True
        self._room.set()
        self._waiting.clear()
        for timer in self._parked.values():
            timer.cancel()
        self._parked.clear()
        tasks = [job.task for job in self._running if job.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=grace_seconds)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _take(self, owned: _Partition, offset: int, fact: CallEvent | None) -> None:
        if fact is None or fact.effect or (fact.kind != kinds.CALL_REQUESTED and fact.kind not in kinds.CALL_ENDS):
            owned.progress.skip(offset)  # of a step, which its handler makes, there is nothing to do
        elif fact.kind in kinds.CALL_ENDS:
            owned.progress.skip(offset)
            self._outcome(owned, fact.call_id)
        elif fact.call_id in owned.jobs or (owned.held is None and fact.call_id in owned.settled):
            owned.progress.skip(offset)
        else:
            owned.progress.add(offset)
            orphan = self._orphans.pop(fact.call_id, None)
            if orphan is not None:
                orphan.partition, orphan.offset, orphan.dropped = owned, offset, False
                owned.jobs[fact.call_id] = orphan
                return
            job = owned.jobs[fact.call_id] = _Job(owned, offset, fact, reported=fact.call_id in self._reported)
            self._inherit(owned, job)
            (self._waiting if owned.held is None else owned.held).append(job)

    @staticmethod
    def _inherit(owned: _Partition, job: _Job) -> None:
        """The acts of predecessors about a call that they may have made."""
        job.reported = job.reported or job.offset < owned.until
        job.past = owned.past.pop(job.fact.call_id, job.past)

    @staticmethod
    def _past_is_over(owned: _Partition) -> None:
        """Forgets what only calls of before need, once all of them were delivered."""
        if owned.held is None and owned.progress.next >= owned.until:
            owned.settled.clear()
            owned.past.clear()

    def _outcome(self, owned: _Partition, call_id: CallId) -> None:
        """A call is settled: by us, most of the time; by its run's end, or a predecessor, else."""
        self._reported.pop(call_id, None)
        if owned.held is not None:
            owned.settled.add(call_id)
            return
        job = owned.jobs.get(call_id)
        if job is not None:
            self._drop(job)

    def _drop(self, job: _Job) -> None:
        """The call is no longer ours to settle."""
        job.dropped = True
        timer = self._parked.pop(job, None)
        if timer is not None:
            timer.cancel()
        if job.task is None:
            self._end(job)
        elif self._settler.may_cancel(job.fact):
            job.task.cancel()

    def _pump(self) -> None:
        """Starts what there are slots for."""
        while self._waiting and len(self._running) < self._max_in_flight and not self._stopping:
            job = self._waiting.popleft()
            if job.dropped:
                continue
            if not job.waited and self._settler.holds(job.fact):
                self._park(job)
                continue
            self._running.add(job)
            job.task = asyncio.get_running_loop().create_task(self._run(job))
        if len(self._waiting) < self._max_in_flight * BACKLOG_FACTOR or self._stopping:
            self._room.set()
        else:
            self._room.clear()

    def _park(self, job: _Job) -> None:
        """The call takes no slot, and waits as long as its own time."""
        loop = asyncio.get_running_loop()
        self._parked[job] = loop.call_later(self._settler.patience(job.fact), self._out_of_time, job)

    def _out_of_time(self, job: _Job) -> None:
        self._parked.pop(job)
        job.waited = True
        self._waiting.append(job)
        self._pump()

    def resumed(self) -> None:
        """Some capability may not be paused any more."""
        paused = [job for job in self._parked if not job.fact.local]
        for job in paused:
            self._parked.pop(job).cancel()
            self._waiting.append(job)
        self._pump()

    async def _run(self, job: _Job) -> None:
        settled = False
        try:
            await self._settle(job)
            settled = True
            self._remember(job.fact.call_id)
        except SettledElsewhere as over:
            log.info("call %s needs no outcome: %s", job.fact.call_id, over)
            settled = True
        except asyncio.CancelledError:
            settled = job.dropped
        except OutboxBroken as error:
            log.exception("call %s cannot be reported", job.fact.call_id)
            self._crash(error)
        except Exception:  # not even its failure can be written: nothing of the call can, others go on
            log.exception("call %s ends without an outcome", job.fact.call_id)
            settled = True
        finally:
            self._running.discard(job)
            if settled:
                if self._deaths is not None:
                    self._deaths.end(job.fact.call_id)
                self._end(job)
                self.report(job.partition.number)
            self._pump()

    def _remember(self, call_id: CallId) -> None:
        """An outcome of the call is in bp.commands; whether it is decided is for the log to say."""
        self._reported[call_id] = None
        if len(self._reported) > REPORTED_LIMIT:
            del self._reported[next(iter(self._reported))]

    async def _settle(self, job: _Job) -> None:
        fact = job.fact
        try:
            await self._make(job)
        except (SettledElsewhere, OutboxBroken):
            raise
        except Exception as error:  # a bug of ours must fail this call, visibly, and no other
            log.exception("call %s met an error of the executor", fact.call_id)
            await self._settler.give_up(fact, error)

    async def _make(self, job: _Job) -> None:
        """Settles the call, unless executors died at it: who makes it once more dies as well, and the others wait."""
        fact, deaths, kind = job.fact, self._deaths, self.kind_of(job.fact)
        if deaths is not None and deaths.of_late(kind, KIND_S) >= CALLS_OF_A_KIND:
            await self._give_up(fact, f"{CALLS_OF_A_KIND} calls of this manifest in a row ended executors")
            return
        try:
            async with noted(deaths, fact.call_id):
                await self._settler.settle(
                    fact,
                    job.past,
                    assignment=job.partition.assignment,
                    reported_before=job.reported,
                    ours=lambda: not job.dropped,
                )
            if deaths is not None and deaths.of(kind).deaths:
                deaths.end(kind)
        except ProcessDied as died:
            await self._give_up(fact, f"{died.deaths} executors died while they made this call")
            if deaths is not None:
                deaths.blame(kind)

    async def _give_up(self, fact: CallEvent, why: str) -> None:
        await self._settler.put_aside(fact, why)
        self._put_aside(fact, why)

    def kind_of(self, fact: CallEvent) -> str:
        """The common part of calls that end executors: the capability, as its manifest is now."""
        try:
            return f"capability {fact.capability}@{self._settler.registry.get(fact.capability).version}"
        except UnknownCapability:
            return f"capability {fact.capability}"

    def _end(self, job: _Job) -> None:
        self._orphans.pop(job.fact.call_id, None)
        job.partition.jobs.pop(job.fact.call_id, None)
        job.partition.progress.finish(job.offset)
