"""The form that clients used before runs had verbs: ``backplane.comms.publish(…, run=run)``. Goes with 0.2.

Reaching it warns; each method does what the same verb of the run does.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterable
from typing import TYPE_CHECKING, Any, Final, Protocol

from typing_extensions import deprecated

from agents_sdk.operations import ASK_TIMEOUT_S, REQUEST, CallResult

if TYPE_CHECKING:
    from agents_sdk.core.facts import CallEvent
    from agents_sdk.recovery import Rank, RecoveryConfig
    from agents_sdk.run import AsyncRun

COMMS: Final = "`backplane.comms.<verb>(…, run=run)` is `run.<verb>(…)` now; `backplane.run(run_id)` gives the run"


class RunLike(Protocol):
    """A run handle of either face."""

    @property
    def id(self) -> str:
        """The run's id."""


class Runs(Protocol):
    """An object that gives the handle of a run."""

    def run(self, run_id: str) -> AsyncRun:
        """The handle of this run."""


def handle(runs: Runs, run: RunLike | str) -> AsyncRun:
    """The run that an argument ``run`` names."""
    return runs.run(run if isinstance(run, str) else run.id)


class AsyncComms:
    """The verbs of a run, with the run as an argument."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs

    def declare_dependency(
        self,
        downstream: str,
        depends_on: Iterable[str],
        *,
        run: RunLike | str,
        trigger_when: str = "all_completed",
        count: int = 0,
        name: str = "",
        deadline_seconds: float | None = None,
    ) -> Coroutine[Any, Any, bool]:
        """As ``AsyncRun.declare_dependency``."""
        return handle(self._runs, run).declare_dependency(
            downstream,
            depends_on,
            trigger_when=trigger_when,
            count=count,
            name=name,
            deadline_seconds=deadline_seconds,
        )

    def publish(
        self, name: str, data: Any = None, *, run: RunLike | str, deadline_seconds: float | None = None
    ) -> Coroutine[Any, Any, int]:
        """As ``AsyncRun.publish``."""
        return handle(self._runs, run).publish(name, data, deadline_seconds=deadline_seconds)

    def send(
        self, agent: str, name: str, data: Any = None, *, run: RunLike | str, deadline_seconds: float | None = None
    ) -> Coroutine[Any, Any, str]:
        """As ``AsyncRun.send``."""
        return handle(self._runs, run).send(agent, name, data, deadline_seconds=deadline_seconds)

    def ask(
        self,
        agent: str,
        data: Any = None,
        *,
        run: RunLike | str,
        timeout: float | None = ASK_TIMEOUT_S,
        name: str = REQUEST,
        type_: Any = None,
    ) -> Coroutine[Any, Any, Any]:
        """As ``AsyncRun.ask``."""
        return handle(self._runs, run).ask(agent, data, timeout=timeout, name=name, type_=type_)

    def discard(
        self, delivery_id: str, reason: str, *, run: RunLike | str, agent: str = "", name: str = ""
    ) -> Coroutine[Any, Any, str]:
        """As ``AsyncRun.discard``."""
        return handle(self._runs, run).discard(delivery_id, reason, agent=agent, name=name)

    def discard_call(
        self, call_id: str, reason: str, *, run: RunLike | str, capability: str = ""
    ) -> Coroutine[Any, Any, str]:
        """As ``AsyncRun.discard_call``."""
        return handle(self._runs, run).discard_call(call_id, reason, capability=capability)

    def redrive(self, delivery_id: str, *, run: RunLike | str) -> Coroutine[Any, Any, str]:
        """As ``AsyncRun.redrive``."""
        return handle(self._runs, run).redrive(delivery_id)


class VerbsOfRuns:
    """Verbs of a run that a client had itself, with the run as an argument."""

    def run(self, run_id: str) -> AsyncRun:
        """The handle of a run."""
        raise NotImplementedError

    @property
    @deprecated(COMMS)
    def comms(self) -> AsyncComms:
        """Messages and dependencies, in the form of before."""
        return AsyncComms(self)

    @deprecated("`backplane.execute(…, run=run)` is `run.execute(…)` now; `backplane.run(run_id)` gives the run")
    def execute(
        self,
        capability: str,
        params: Any = None,
        *,
        run: RunLike | str,
        timeout_seconds: float | None = None,
        budget: str | None = None,
        rank: Rank | None = None,
    ) -> Coroutine[Any, Any, CallResult]:
        """As ``AsyncRun.execute``."""
        return handle(self, run).execute(capability, params, timeout_seconds=timeout_seconds, budget=budget, rank=rank)

    @deprecated("`backplane.execute_with_recovery(…, run=run)` is `run.execute_with_recovery(…)` now")
    def execute_with_recovery(
        self,
        capability: str,
        params: Any = None,
        config: RecoveryConfig | dict[str, Any] | None = None,
        *,
        run: RunLike | str,
        budget: str | None = None,
    ) -> Coroutine[Any, Any, CallResult]:
        """As ``AsyncRun.execute_with_recovery``."""
        return handle(self, run).execute_with_recovery(capability, params, config, budget=budget)

    @deprecated("`backplane.redrive_call(…, run=run)` is `run.redrive_call(…)` now")
    def redrive_call(self, call_id: str, *, run: RunLike | str) -> Coroutine[Any, Any, CallResult]:
        """As ``AsyncRun.redrive_call``."""
        return handle(self, run).redrive_call(call_id)

    @deprecated("`backplane.repeat_call(…, run=run)` is `run.repeat_call(…)` now")
    def repeat_call(self, failed: CallEvent, *, run: RunLike | str) -> Coroutine[Any, Any, CallResult]:
        """As ``AsyncRun.repeat_call``."""
        return handle(self, run).repeat_call(failed)
