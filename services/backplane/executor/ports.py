"""The outside of settling a call: the way to the ledger, the providers, time and chance."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Sequence
from typing import Protocol

from agents_sdk.core.commands import Command
from agents_sdk.core.facts import CallEvent, Reply
from agents_sdk.recovery import Rank
from backplane.executor.reports import ClaimOf
from backplane.manifests.model import Provider
from backplane.manifests.registry import RegisteredCapability
from backplane.providers.fleet import Claim
from backplane.recovery.decide import Route
from backplane.recovery.outcome import AttemptOutcome, AttemptRequest, Reconciled
from backplane.recovery.ranking import Ranking


class Outbox(Protocol):
    """The way to the ledger."""

    def send(self, commands: Sequence[Command]) -> Awaitable[None]:
        """Hands the commands over at once, in order; what is returned is done when they are durable."""

    async def probe(self, command: Command) -> Reply | None:
        """Sends ProbeBreaker and gives the ledger's answer; None where there is none soon."""

    async def claim(self, fact: CallEvent, claim: ClaimOf, route: Route) -> Reply:
        """Sends StartAttempt and gives the ledger's answer; asks again until there is one."""


class ProviderGateway(Protocol):
    """Something that asks providers; the Fleet, or a test's stand-in."""

    def ranking(self, contract: RegisteredCapability, rank: Rank) -> Ranking:
        """Which providers can be asked now, in which order."""

    def observe(
        self, contract: RegisteredCapability, provider: Provider, outcome: AttemptOutcome, seconds: float
    ) -> None:
        """An attempt has ended, its result checked: what later rankings rest on."""

    async def attempt(
        self, contract: RegisteredCapability, provider: Provider, request: AttemptRequest, claim: Claim | None = None
    ) -> AttemptOutcome:
        """One attempt, claimed right before the provider is asked."""

    async def reconcile(
        self, contract: RegisteredCapability, provider: Provider, request: AttemptRequest
    ) -> Reconciled:
        """The provider's answer about an attempt that was made before."""


class Clock:
    """Time and chance, so that tests can bring their own."""

    def now_us(self) -> int:
        """Microseconds since the epoch, UTC."""
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    def jitter(self) -> float:
        """A number in [0, 1)."""
        return random.random()  # noqa: S311  # spreads retries, hides nothing
