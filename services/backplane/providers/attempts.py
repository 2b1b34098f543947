"""The promises of every kind of provider: it is made from its manifest and its surroundings, and then asked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agents_sdk.artifacts import ArtifactStore
from backplane.manifests.egress import Policy
from backplane.recovery.outcome import AttemptOutcome, AttemptRequest, Reconciled

if TYPE_CHECKING:
    from backplane.providers.mcp_sessions import Servers
    from backplane.providers.python import Resources
    from backplane.providers.throttle import Throttle

NOT_ASKED = Reconciled("unknown", message="a provider of this kind cannot be asked")


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """A provider of any kind may be made of these, besides its manifest."""

    data_dir: Path
    environment: Mapping[str, str]
    artifacts: ArtifactStore
    policy: Policy
    """Where requests may go."""
    pool: ThreadPoolExecutor
    threads: int
    """Of the pool."""
    resources: Resources
    servers: Servers
    throttle: Throttle
    """The provider's own; it has let the first request of an attempt pass."""


class Attempts(ABC):
    """One provider, ready to be asked."""

    @abstractmethod
    async def attempt(self, request: AttemptRequest) -> AttemptOutcome:
        """One attempt, one outcome; raises only CancelledError."""

    @abstractmethod
    async def close(self) -> None:
        """Lets go of connections and processes; twice does no harm."""

    async def reconcile(self, request: AttemptRequest) -> Reconciled:
        """Asks the provider about an attempt made before; raises only CancelledError."""
        return NOT_ASKED

    def slots(self, concurrency: int) -> int:
        """How many attempts may be open at a time, where the manifest allows ``concurrency``."""
        return concurrency
