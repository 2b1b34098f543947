"""Keeps the parts of one platform running until the signal to stop; owns the data directory meanwhile.

The shell around ``policy``: it starts processes, sees them die, asks whether they answer, and carries out what policy
decides. All of it in one thread: the kernel kills a part when the thread that forked it ends (see ``child``).
"""

# long because: one loop over one table of parts, each of which it starts, asks, stops and replaces by a spare

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from agents_sdk.deaths import ENDED
from agents_sdk.errors import BackplaneError
from agents_sdk.keys import KeyUnusable, make_master
from agents_sdk.settings import cache_dir, running_file
from backplane.platform import artifacts, java, policy, ports, probes
from backplane.platform.child import Child
from backplane.platform.errors import PartFailed, PlatformError
from backplane.platform.layout import Layout
from backplane.platform.parts import SPARE, Launch, Part, Site, base_environment
from backplane.platform.policy import Phase, PlatformState, State

START_LIMIT_S: Final = 90.0
"""A part that does not answer by then is taken for stuck. A cold start on a busy machine takes 20 s."""

STOP_LIMIT_S: Final = 9.0
"""All parts together; then SIGKILL. Ctrl-C promises an end within 10 s."""

PROBE_EVERY_S: Final = 0.02
STOP_POLL_S: Final = 0.02
TICK_S: Final = 1.0
"""How long a change that no signal announces may go unseen: a log that grows, a part that is stuck."""

SPARE_AGAIN_S: Final = 60.0
"""After a spare process that died, or could not be started."""
SPARES: Final = "BACKPLANE_SPARES"
"""``0`` in the environment: no spare processes, which take some 60 MB each."""
TAIL_LINES: Final = 15

Say = Callable[[str, str], None]
"""Called with (part, event); parts of the platform as a whole are called ``platform``."""


@dataclass
class _RunningPart:
    part: Part
    state: State
    child: Child | None = None
    probe: asyncio.Task[None] | None = None
    verdict: str = ""
    """Why it was killed, when it was the supervisor who did it."""
    ended: str = ""
    """How its last process ended, for the next one."""
    spare: Child | None = None
    """Waits to take its place."""
    was_spare: bool = False
    """Its process was a spare one."""
    spare_at: float = 0.0
    """No spare process is made before."""


class Supervisor:
    """One platform, from start to end.

    Raises (from ``run``):
        DataDirTaken: another supervisor owns the directory.
        PartFailed: a part did not come up; all that had been started is gone.
        PlatformError: jars, Java or disk; nothing was started or is left running.
    """

    def __init__(
        self,
        layout: Layout,
        parts: Sequence[Part],
        *,
        profile: str = "dev",
        leash: int | None = None,
        trust: bool = False,
        users: bool = True,
        say: Say,
    ) -> None:
        self._layout = layout
        self._heap = java.PROFILES[profile]
        self._profile = profile
        self._leash = leash
        self._trust = trust
        self._users = users
        self._listener = say
        self._nodes = {part.name: part.node for part in parts}
        self._running = {part.name: _RunningPart(part, State()) for part in parts}
        self._wake = asyncio.Event()
        self._stops = 0
        self._interrupted = False
        self._was_ready = False
        self._began = time.time()
        self._published: dict[str, Any] = {}
        self._unpublished = ""
        """Why the record could not be written last time."""

    def run(self) -> bool:
        """Start everything, keep it running, return once it was asked to stop and all parts are gone.

        True when it was Ctrl-C that asked.
        """
        ownership = self._layout.own()
        try:
            known = self._layout.read_record()
            _end_leftovers(known)
            self._settle(known.get("ports", {}))
            asyncio.run(self._supervise())
        finally:
            os.close(ownership)
        return self._interrupted

    def _settle(self, recorded: dict[str, int]) -> None:
        """All that is needed before the first process: room, jars, ports. Failures are in the record too."""
        wanted = [port for each in self._running.values() for port in each.part.ports]
        # A record of this run from the first moment: a waiting process must not read the end of the one before.
        early = {
            "last_pid": os.getpid(),
            "supervisor": {"pid": os.getpid(), "started_at": self._began},
            "ports": recorded,
            "offers": self._layout.read_record().get("offers", {}),
            "parts": {},
        }
        self._layout.write_record({"state": PlatformState.STARTING.value, **early})
        try:
            self._layout.check_room()
            cache = cache_dir()
            chosen = ports.choose(wanted, recorded)
            self._site = Site(self._layout, chosen, self._heap, artifacts.jars(cache), cache, self._trust, self._users)
            java.java()
            make_master(self._layout.keys)
            self._announce()
        except (PlatformError, KeyUnusable) as error:
            self._layout.write_record(
                {"state": PlatformState.FAILED.value, **early, "supervisor": {}, **_error_fields(error)}
            )
            raise

    def _announce(self) -> None:
        """Notes under Kafka's address its data directory, for processes that have the address alone."""
        server = self._site.settings().get("kafka", {}).get("bootstrap.servers", "")
        if server:
            with contextlib.suppress(OSError):  # they have the directory, then, or a login
                file = running_file(server)
                file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                file.write_text(str(self._layout.data_dir))

    async def _supervise(self) -> None:
        self._listen()
        failure: PlatformError | None = None
        try:
            while not self._stops and failure is None:
                self._publish(self._overall())
                self._reap()
                try:
                    self._start_due()
                except PlatformError as error:
                    failure = error
                failure = failure or self._failure()
                self._note_ready()
                if failure is None and not self._stops:
                    self._keep_spares()
                    await self._sleep()
        finally:
            # Also when something here is wrong: no part outlives this function.
            self._publish(PlatformState.FAILED if failure else PlatformState.STOPPING, failure)
            await self._stop_all()
            self._publish(PlatformState.FAILED if failure else PlatformState.STOPPED, failure)
        if failure is not None:
            raise failure

    def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._ask_to_stop, number)
        loop.add_signal_handler(signal.SIGCHLD, self._wake.set)
        if self._leash is not None:
            loop.add_reader(self._leash, self._leash_moved)

    def _ask_to_stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        self._interrupted = self._interrupted or number is signal.SIGINT
        self._stops += 1
        self._wake.set()

    def _leash_moved(self) -> None:
        """The starter of this process holds the other end of a pipe and never writes: the pipe moves when the starter
        is gone."""
        assert self._leash is not None
        asyncio.get_running_loop().remove_reader(self._leash)
        self._ask_to_stop()

    async def _sleep(self) -> None:
        now = time.monotonic()
        retries = [each.state.retry_at - now for each in self._running.values() if each.state.phase is Phase.BACKOFF]
        try:
            async with asyncio.timeout(max(0.0, min([TICK_S, *retries]))):
                await self._wake.wait()
        except TimeoutError:
            for each in self._running.values():
                if each.child is not None:
                    each.child.bound_log()
        self._wake.clear()

    def _reap(self) -> None:
        now = time.monotonic()
        for name, each in self._running.items():
            if each.spare is not None and each.spare.exit_reason() is not None:
                each.spare, each.spare_at = None, now + SPARE_AGAIN_S
            if each.child is None:
                continue
            starting = each.state.phase is Phase.STARTING and not each.part.node.optional
            if starting and now - each.state.since > START_LIMIT_S:
                each.verdict = f"not ready within {START_LIMIT_S:.0f} s, killed"
                each.child.send(signal.SIGKILL)
            reason = each.child.exit_reason()
            if reason is None:
                continue
            reason, each.verdict, each.ended = each.verdict or reason, "", each.child.ended
            self._drop(each)
            each.state = policy.exited(each.state, each.part.node, reason, now, random.random())  # noqa: S311
            if each.state.phase is Phase.DONE:
                self._wake.set()
            else:
                self._say(name, f"ended: {each.state.last_exit}")

    def _start_due(self) -> None:
        states = {name: each.state for name, each in self._running.items()}
        now = time.monotonic()
        for name in policy.due(self._nodes, states, now):
            each = self._running[name]
            launch = each.part.launch(self._site)
            if launch is None:
                each.state = policy.exited(each.state, each.part.node, "", now, 0.0)
                self._wake.set()
                continue
            spare = self._spare_of(each)
            each.was_spare = spare is not None
            each.child = spare or self._child(each, launch)
            each.state = policy.started(each.state, now)
            if each.part.ready is not None or each.part.probe is not None:
                each.probe = asyncio.create_task(self._ask_until_ready(each))

    def _child(self, each: _RunningPart, launch: Launch, *, waits: bool = False) -> Child:
        env = {**base_environment(), **launch.env, ENDED: each.ended, **({SPARE: "1"} if waits else {})}
        return Child(launch.argv, env, self._layout.log(each.part.name), each.part.nice, waits=waits)

    @staticmethod
    def _spare_of(each: _RunningPart) -> Child | None:
        """The spare process of a part, which begins its work now; None where there is none."""
        spare, each.spare = each.spare, None
        return spare if spare is not None and spare.begin(each.ended) else None

    def _keep_spares(self) -> None:
        """A spare process for each part that should have one. On Linux only, where it cannot outlive this process."""
        now = time.monotonic()
        if sys.platform != "linux" or os.environ.get(SPARES) == "0":
            return
        for each in self._running.values():
            wanted = each.part.spare and policy.spare_due(each.state, now, was_spare=each.was_spare)
            if wanted and each.spare is None and now >= each.spare_at:
                launch = each.part.launch(self._site)
                try:
                    each.spare = self._child(each, launch, waits=True) if launch is not None else None
                except PlatformError:  # the part works without it
                    each.spare_at = now + SPARE_AGAIN_S

    async def _ask_until_ready(self, each: _RunningPart) -> None:
        ready = each.part.probe(self._site) if each.part.probe is not None else each.part.ready
        assert ready is not None
        port = self._site.ports[each.part.ports[0]]
        while not await ready(port):
            if each.part.node.notes and not each.state.answered and await probes.listens(port):
                each.state = policy.listens(each.state)
            await asyncio.sleep(PROBE_EVERY_S)
        each.state = policy.became_ready(each.state, time.monotonic())
        assert each.child is not None
        took = time.time() - each.child.started_at
        self._say(each.part.name, f"ready on {ports.LOOPBACK}:{port} after {took:.1f} s")
        self._wake.set()

    def _failure(self) -> PlatformError | None:
        for name, each in self._running.items():
            if each.state.phase is Phase.FAILED and not each.part.node.optional:
                return part_failed(name, each.state.last_exit, self._layout.log(name))
        return None

    def _note_ready(self) -> None:
        if not self._was_ready and self._overall() is PlatformState.READY:
            self._was_ready = True
            self._publish(PlatformState.READY)
            self._say("platform", f"ready after {time.time() - self._began:.1f} s")

    def _overall(self) -> PlatformState:
        return policy.fold(self._nodes, {name: each.state for name, each in self._running.items()}, self._was_ready)

    async def _stop_all(self) -> None:
        began = time.monotonic()
        for each in self._running.values():
            if each.spare is not None:
                each.spare.end()
                each.spare = None
        waves = policy.stop_waves(self._nodes)
        for number, wave in enumerate(waves, 1):
            # Each wave has its share, so that a service that hangs does not take Kafka's time for a clean end.
            deadline = began + STOP_LIMIT_S * number / len(waves)
            await self._stop_wave([self._running[name] for name in wave], deadline)

    async def _stop_wave(self, wave: Sequence[_RunningPart], deadline: float) -> None:
        children = [each.child for each in wave if each.child is not None]
        for child in children:
            child.send(signal.SIGTERM)
        while any(child.exit_reason() is None for child in children):
            if self._stops > 1 or time.monotonic() > deadline:
                for child in children:
                    child.send(signal.SIGKILL)
            await asyncio.sleep(STOP_POLL_S)
        for each in wave:
            self._drop(each)
            if each.state.phase is not Phase.FAILED:
                now = time.monotonic()
                each.state = State(Phase.STOPPED, now, each.state.restarts, last_exit=each.state.last_exit)

    @staticmethod
    def _drop(each: _RunningPart) -> None:
        if each.probe is not None:
            each.probe.cancel()
        if each.child is not None:
            each.child.send_rest()  # processes that it had started and left running
        each.child = each.probe = None

    def _publish(self, overall: PlatformState, failure: PlatformError | None = None) -> None:
        over = overall is PlatformState.STOPPED or (overall is PlatformState.FAILED and not self._alive())
        record: dict[str, Any] = {
            "state": overall.value,
            "last_pid": os.getpid(),
            "profile": self._profile,
            "supervisor": {} if over else {"pid": os.getpid(), "started_at": self._began},
            "settings": {} if over else self._site.settings(),
            # Their state when it runs: for processes that wait for it and have its address.
            "offers": self._site.settings(),
            # With those of parts that do not run this time: they shall have them again the next.
            "ports": {**self._layout.read_record().get("ports", {}), **self._site.ports},
            "parts": {name: self._describe(each) for name, each in self._running.items()},
        }
        if failure is not None:
            record |= _error_fields(failure)
        if record != self._published:
            try:
                self._layout.write_record(record)
                self._published, self._unpublished = record, ""
            except PlatformError as error:
                if error.message != self._unpublished:  # tried every second; logged once
                    self._unpublished = error.message
                    self._say("platform", f"cannot publish its state: {error.message}")

    def _say(self, part: str, what: str) -> None:
        # A log on a full disk, a terminal that was closed: no reason to take the parts down with it.
        with contextlib.suppress(OSError):
            self._listener(part, what)

    def _alive(self) -> bool:
        return any(each.child is not None for each in self._running.values())

    def _describe(self, each: _RunningPart) -> dict[str, Any]:
        return {
            "state": each.state.phase.value,
            "pid": each.child.pid if each.child else None,
            "port": self._site.ports[each.part.ports[0]] if each.part.ports else None,
            "started_at": each.child.started_at if each.child else None,
            "restarts": each.state.restarts,
            "last_exit": each.state.last_exit,
            "task": each.part.node.task,
            "log": str(self._layout.log(each.part.name)),
        }


def part_failed(name: str, reason: str, log: Path) -> PartFailed:
    """``name`` did not come up, with the end of its log."""
    from backplane.platform.child import tail

    lines = tail(log, TAIL_LINES)
    said = "".join(f"\n    {line}" for line in lines)
    return PartFailed(
        f"{name} did not start: {reason}{said}",
        hint=f"its log is {log}",
        part=name,
        reason=reason,
        log=str(log),
        tail=lines,
    )


def _error_fields(error: BackplaneError) -> dict[str, Any]:
    return {"error": {"code": error.code, "message": error.message, "hint": error.hint}}


def _end_leftovers(record: dict[str, Any]) -> None:
    """End parts of a supervisor that was killed where the kernel does not do that for it (not Linux)."""
    for part in record.get("parts", {}).values():
        try:
            process = psutil.Process(part["pid"])
            if abs(process.create_time() - part["started_at"]) < 5:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(5)
        except (KeyError, TypeError, psutil.Error, OSError):
            continue


def say_on_stderr(part: str, what: str) -> None:
    """One line a happening."""
    print(f"{part}: {what}", file=sys.stderr, flush=True)
