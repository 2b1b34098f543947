"""All providers of a process: which of a capability's can be asked now, and one attempt at one of them."""

from __future__ import annotations

import asyncio
import os
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeAlias

from agents_sdk.artifacts import ArtifactStore
from agents_sdk.core.catalogue import ENABLED
from agents_sdk.core.registry import Switch
from agents_sdk.core.words import quoted
from agents_sdk.recovery import Rank
from backplane.manifests.egress import Policy
from backplane.manifests.model import Capability, Provider
from backplane.manifests.registry import RegisteredCapability
from backplane.providers import claim_check
from backplane.providers.attempts import Attempts, Surroundings
from backplane.providers.body import TooDeep, refuse_depth
from backplane.providers.kinds import made
from backplane.providers.mcp_sessions import Servers
from backplane.providers.python import Resources
from backplane.providers.reach import missing_program
from backplane.providers.throttle import Throttle
from backplane.recovery.outcome import Answer, AttemptOutcome, AttemptRequest, Failure, Reconciled
from backplane.recovery.pricing import charge
from backplane.recovery.ranking import EndedAttempt, ProviderStats, Ranking, Window, ordered

THREADS: Final = max(4, 2 * (os.cpu_count() or 1))
"""For plain Python functions: enough to overlap waiting, few enough that CPU-bound ones do not starve the loop."""

CALLERS: Final = frozenset({"invalid_request", "content_refused"})
"""Failures that are the caller's."""

Claim: TypeAlias = Callable[[], Awaitable[None]]
"""Returns when the attempt is ours to make; raises when it is not."""


Switched: TypeAlias = Callable[[str, str], Switch]
"""(capability, provider) → how it is switched."""


def always_on(capability: str, provider: str = "") -> Switch:
    """Where there is no registry."""
    return ENABLED


@dataclass(slots=True)
class _Member:
    provider: Provider
    attempts: Attempts
    slots: asyncio.Semaphore
    throttle: Throttle
    users: int = 0
    """Attempts under way or waiting."""
    retired: bool = False
    """A newer manifest has this provider otherwise."""


class Fleet:
    """The providers of all capabilities, each made when it is first asked."""

    def __init__(
        self,
        data_dir: Path,
        environment: Mapping[str, str],
        switch: Switched = always_on,
        artifacts: ArtifactStore | None = None,
        policy: Policy = Policy(),  # noqa: B008  # frozen
    ) -> None:
        """``artifacts`` keeps what providers make and are given; without one they are kept below ``data_dir``.
        ``policy``: where requests may go."""
        self._policy = policy
        self.data_dir = data_dir
        self._artifacts = artifacts or ArtifactStore(data_dir)
        self.environment = environment
        self.out_of_reach: Mapping[tuple[str, str], str] = {}
        """(capability, provider) → why it is, as was found out a moment ago."""
        self._switch = switch
        self._resources = Resources()
        self._servers = Servers(environment, data_dir, policy)
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="provider")
        self._members: dict[tuple[str, str, int], _Member] = {}
        """By capability, provider and version of the manifest."""
        self._closing: set[asyncio.Task[None]] = set()
        self._windows: defaultdict[tuple[str, str], Window] = defaultdict(Window)

    def ranking(self, contract: RegisteredCapability, rank: Rank = "declared") -> Ranking:
        """Which providers can be asked: those whose endpoint and secret are found, in the order of ``rank``."""
        name = contract.capability.name
        ready: list[str] = []
        skipped: list[tuple[str, str]] = []
        for provider in contract.capability.providers:
            switch = self._switch(name, provider.name)
            if switch.state == "disabled":
                why = f"an operator said {quoted(switch.reason)}" if switch.reason else "no reason was given"
                skipped.append((provider.name, f"is disabled ({why})"))
            elif lack := self.lack(provider):
                skipped.append((provider.name, f"lacks {lack}"))
            else:
                ready.append(provider.name)
        # the last hope is asked all the same: it may have come back since
        near = [each for each in ready if (name, each) not in self.out_of_reach]
        if near:
            skipped += [(each, self.out_of_reach[name, each]) for each in ready if each not in near]
            ready = near
        return Ranking(self._ordered(contract.capability, ready, rank), tuple(skipped))

    def lack(self, provider: Provider) -> str:
        """Things that the provider lacks to be asked; "" when it is ready."""
        program = missing_program(provider, self.environment, self.data_dir)
        return ", ".join(filter(None, [provider.missing(self.environment, self.data_dir), program]))

    def observe(
        self, contract: RegisteredCapability, provider: Provider, outcome: AttemptOutcome, seconds: float
    ) -> None:
        """Remembers how an attempt ended. A mistake of the caller says nothing about the provider."""
        ok = isinstance(outcome, Answer)
        if isinstance(outcome, Failure) and outcome.error_class in CALLERS:
            return
        ended = EndedAttempt(time.monotonic(), ok, seconds, charge(provider.price, outcome).nano_usd)
        self._windows[contract.capability.name, provider.name].add(ended)

    def standing(self, capability: str, provider: str) -> ProviderStats:
        """The latest results of a provider."""
        window = self._windows.get((capability, provider))
        return window.standing(time.monotonic()) if window else ProviderStats()

    def _ordered(self, capability: Capability, ready: list[str], rank: Rank) -> tuple[str, ...]:
        if rank == "declared" or len(ready) < 2:
            return tuple(ready)
        standings = {name: self.standing(capability.name, name) for name in ready}
        costs = {each.name: each.price.per_call_nano_usd for each in capability.providers if each.price}
        return ordered(rank, ready, standings, costs)

    async def attempt(
        self, contract: RegisteredCapability, provider: Provider, request: AttemptRequest, claim: Claim | None = None
    ) -> AttemptOutcome:
        """One attempt, as soon as the provider has a slot free. ``claim`` is awaited right before it is asked:
        what is claimed and still waits would be of unknown outcome after a crash. Raises what ``claim`` raises."""
        member = self._member(contract, provider)
        member.users += 1
        try:
            outcome = await _attempt(member, request, claim)
            return await self._with_files_kept(outcome) if isinstance(outcome, Answer) else outcome
        finally:
            member.users -= 1
            if member.retired and not member.users:
                await member.attempts.close()

    async def reconcile(
        self, contract: RegisteredCapability, provider: Provider, request: AttemptRequest
    ) -> Reconciled:
        """The provider's answer about an attempt made before, without waiting for a slot: it is rare, and settles."""
        attempts = self._member(contract, provider).attempts
        found = await attempts.reconcile(request)
        kept = await self._with_files_kept(found.answer)
        if isinstance(kept, Failure):
            return Reconciled("unknown", message=kept.message)
        return replace(found, answer=kept)

    async def _with_files_kept(self, answer: Answer) -> AttemptOutcome:
        try:
            refuse_depth(answer.result)
        except TooDeep as error:
            return Failure(
                error_class="unknown", code="result_too_deep", message=str(error), uncertain=True, usage=answer.usage
            )
        if not claim_check.carries_files(answer.result):
            return answer
        return await asyncio.get_running_loop().run_in_executor(
            self._pool, claim_check.checked, answer, self._artifacts
        )

    async def close(self) -> None:
        """Closes all connections; threads that still run are left to end with the process."""
        for member in self._members.values():
            await member.attempts.close()
        await asyncio.gather(*self._closing)
        self._members.clear()
        await self._servers.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _member(self, contract: RegisteredCapability, provider: Provider) -> _Member:
        """The provider as this version of the manifest has it. One that an older version had as well goes on with its
        connections. One that it had otherwise is closed when its last attempt has ended."""
        capability = contract.capability.name
        key = (capability, provider.name, contract.version)
        member = self._members.get(key)
        if member is None:
            older = [each for each in self._members if each[:2] == key[:2] and each[2] < contract.version]
            for each in older:
                before = self._members.pop(each)
                if member is None and before.provider == provider:
                    member = before
                else:
                    self._retire(before)
            member = self._members[key] = member or self._made(provider)
        return member

    def _made(self, provider: Provider) -> _Member:
        around = Surroundings(
            data_dir=self.data_dir,
            environment=self.environment,
            artifacts=self._artifacts,
            policy=self._policy,
            pool=self._pool,
            threads=THREADS,
            resources=self._resources,
            servers=self._servers,
            throttle=Throttle(provider.rate),
        )
        attempts = made(provider, around)
        return _Member(provider, attempts, asyncio.Semaphore(attempts.slots(provider.concurrency)), around.throttle)

    def _retire(self, member: _Member) -> None:
        member.retired = True
        if not member.users:
            closing = asyncio.get_running_loop().create_task(member.attempts.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)


async def _attempt(member: _Member, request: AttemptRequest, claim: Claim | None) -> AttemptOutcome:
    until = asyncio.get_running_loop().time() + request.timeout_seconds
    if not await _slot_before(until, member.slots):
        message = f"every slot of {member.provider.name} stayed taken for {request.timeout_seconds:g} s"
        return Failure(error_class="rate_limited", code="no_slot", message=message)
    try:
        return await _attempt_in_slot(member, request, until, claim)
    finally:
        member.slots.release()


async def _slot_before(until: float, slots: asyncio.Semaphore) -> bool:
    """Takes a slot; False: there was none in time."""
    if not slots.locked():
        return await slots.acquire()
    try:
        async with asyncio.timeout_at(until):
            return await slots.acquire()
    except TimeoutError:
        return False


async def _attempt_in_slot(
    member: _Member, request: AttemptRequest, until: float, claim: Claim | None
) -> AttemptOutcome:
    """One attempt once the provider's rate allows it; ``claim`` only then. Raises what ``claim`` raises."""
    admitted = await member.throttle.admit(request.params, until)
    if isinstance(admitted, Failure):
        return admitted
    if claim is not None:
        await claim()
    left = until - asyncio.get_running_loop().time()
    if left <= 0:
        message = f"its {request.timeout_seconds:g} s were over before it could be asked"
        return Failure(error_class="transient", code="timeout", message=message)
    outcome = await member.attempts.attempt(replace(request, timeout_seconds=left))
    member.throttle.settle(admitted, outcome)
    return outcome
