"""All providers of a process: which of a capability's can be asked now, and one attempt at one of them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol, TypeAlias

from services.capabilities.model import McpProvider, Provider, PythonProvider, SubprocessProvider
from services.capabilities.outcome import AttemptOutcome, AttemptRequest, Failure, Reconciled
from services.capabilities.providers.http import HttpAttempts
from services.capabilities.providers.mcp import McpAttempts, Servers
from services.capabilities.providers.python import PythonAttempts, Resources
from services.capabilities.providers.subprocess import SubprocessAttempts
from services.capabilities.providers.throttle import Throttle
from services.capabilities.registry import Contract

THREADS: Final = max(4, 2 * (os.cpu_count() or 1))
"""For plain Python functions: enough to overlap waiting, few enough that CPU-bound ones do not starve the loop."""


Claim: TypeAlias = Callable[[], Awaitable[None]]
"""Returns when the attempt is ours to make; raises when it is not."""


class Attempts(Protocol):
    """One provider, ready to be asked."""

    async def attempt(self, request: AttemptRequest) -> AttemptOutcome:
        """One attempt; raises only CancelledError."""

    async def close(self) -> None:
        """Lets go of connections."""


@dataclass(slots=True)
class _Member:
    attempts: Attempts
    slots: asyncio.Semaphore
    throttle: Throttle


@dataclass(frozen=True, slots=True)
class Ranking:
    """A capability's providers as they stand now."""

    ready: tuple[str, ...]
    """Names, in rank order."""
    skipped: tuple[tuple[str, str], ...]
    """(name, what it lacks)."""

    def why_skipped(self) -> str:
        """The skipped ones in words; "" when there are none."""
        return "; ".join(f"{name} was not asked: it lacks {lack}" for name, lack in self.skipped)


class Fleet:
    """The providers of all capabilities, each made when it is first asked."""

    def __init__(self, data_dir: Path, environment: Mapping[str, str]) -> None:
        self._data_dir = data_dir
        self._environment = environment
        self._resources = Resources()
        self._servers = Servers(environment, data_dir)
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="provider")
        self._members: dict[tuple[str, str], _Member] = {}

    def ranking(self, contract: Contract) -> Ranking:
        """Which providers can be asked: those whose endpoint and secret are found."""
        ready: list[str] = []
        skipped: list[tuple[str, str]] = []
        for provider in contract.capability.providers:
            lack = provider.missing(self._environment, self._data_dir)
            if lack:
                skipped.append((provider.name, lack))
            else:
                ready.append(provider.name)
        return Ranking(tuple(ready), tuple(skipped))

    async def attempt(
        self, contract: Contract, provider: Provider, request: AttemptRequest, claim: Claim | None = None
    ) -> AttemptOutcome:
        """One attempt, as soon as the provider has a slot free. ``claim`` is awaited right before it is asked:
        what is claimed and still waits would be of unknown outcome after a crash. Raises what ``claim`` raises."""
        member = self._member(contract.capability.name, provider)
        loop = asyncio.get_running_loop()
        until = loop.time() + request.timeout_seconds
        if not await _slot_before(until, member.slots):
            message = f"every slot of {provider.name} stayed taken for {request.timeout_seconds:g} s"
            return Failure(error_class="rate_limited", code="no_slot", message=message)
        try:
            return await _attempt_in_slot(member, request, until, claim)
        finally:
            member.slots.release()

    async def reconcile(self, contract: Contract, provider: Provider, request: AttemptRequest) -> Reconciled:
        """What the provider says about an attempt made before, without waiting for a slot: it is rare, and settles."""
        attempts = self._member(contract.capability.name, provider).attempts
        if isinstance(attempts, HttpAttempts | PythonAttempts):
            return await attempts.reconcile(request)
        return Reconciled("unknown", message=f"a provider of kind {provider.kind} cannot be asked")

    async def close(self) -> None:
        """Closes all connections; threads that still run are left to end with the process."""
        for member in self._members.values():
            await member.attempts.close()
        self._members.clear()
        await self._servers.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _member(self, capability: str, provider: Provider) -> _Member:
        key = (capability, provider.name)
        member = self._members.get(key)
        if member is None:
            attempts: Attempts
            throttle = Throttle(provider.rate)
            slots = provider.concurrency
            if isinstance(provider, PythonProvider):
                attempts = PythonAttempts(provider, self._data_dir, self._resources, self._pool)
                slots = slots if attempts.on_the_loop() else min(slots, THREADS)
            elif isinstance(provider, SubprocessProvider):
                attempts = SubprocessAttempts(provider, self._environment, self._data_dir)
            elif isinstance(provider, McpProvider):
                attempts = McpAttempts(provider, self._servers.of(provider))
            else:
                attempts = HttpAttempts(provider, self._environment, self._data_dir, throttle=throttle)
            member = self._members[key] = _Member(attempts, asyncio.Semaphore(slots), throttle)
        return member


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
