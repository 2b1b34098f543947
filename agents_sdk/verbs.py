"""The verbs about a run, the same for an agent that handles a message of it and for a client.

``Context`` and ``AsyncRun`` inherit them, so neither has a verb, a parameter or a default that the other lacks.
tests/architecture/test_verbs.py lists both side by side.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterable
from typing import TYPE_CHECKING, Any, TypeVar, overload

from agents_sdk import operations
from agents_sdk.child import Child, start_child
from agents_sdk.operations import ASK_TIMEOUT_S, REQUEST, CallResult
from agents_sdk.run_artifacts import RunArtifacts
from agents_sdk.scope import Scope
from agents_sdk.state import State

if TYPE_CHECKING:
    from agents_sdk.core.facts import CallEvent
    from agents_sdk.recovery import Rank, RecoveryConfig

T = TypeVar("T")


class RunVerbs:
    """The verbs of one sender about one run.

    Every verb builds its command when it is called, and sends it when it is awaited. Each may raise UnknownRun,
    RunFinished, Unanswered or Unreachable, which the docstrings below leave out.
    """

    def __init__(self, scope: Scope, state: State | None = None) -> None:
        self._scope = scope
        self.state: State = state if state is not None else State(scope)
        """The run's shared state. A client can read it after the run has ended too."""
        self.artifacts = RunArtifacts(scope)
        """The run's files."""

    def execute(
        self,
        capability: str,
        params: Any = None,
        *,
        timeout_seconds: float | None = None,
        budget: str | None = None,
        rank: Rank | None = None,
    ) -> Coroutine[Any, Any, CallResult]:
        """Calls a capability and returns its result. ``params`` are as the capability's schema describes them.

        ``timeout_seconds`` is for all attempts together; None: the capability's default. ``budget``, such as
        ``"0.05 USD"``, is what all attempts may cost together; None: the agent's ``call_budgets``, else half of what is
        left. ``rank`` is the order in which providers are asked: ``declared``, ``cheapest``, ``fastest`` or
        ``healthiest``; None: the capability's.

        Raises:
            BudgetExceeded: there is not that much left; or, a CallFailed as well, an attempt might cost more than that.
            CallFailed: no provider gave a result; the fields say what was tried.
            ScopeDenied: it is not among the agent's ``capabilities``.
            InvalidCommand, Oversize.
        """
        config = operations.rank_config(rank)
        return operations.execute(self._scope, capability, params, timeout_seconds, budget, config)

    def execute_with_recovery(
        self,
        capability: str,
        params: Any = None,
        config: RecoveryConfig | dict[str, Any] | None = None,
        *,
        budget: str | None = None,
    ) -> Coroutine[Any, Any, CallResult]:
        """Calls a capability and returns its result. A failed attempt is helped as ``config`` says, which has
        precedence over what the capability declares::

            {"retry": {"max_attempts": 3, "backoff": "exponential"}, "degraded_result": {...}, "timeout_seconds": 30}

        Every key is optional; ``agents_sdk.RecoveryConfig`` explains them. A degraded result comes back with
        ``degraded`` set.

        Raises:
            InvalidCommand: the config is not valid; ``fields["field"]`` names what is wrong, and nothing was sent.
            CallFailed, and what ``execute`` raises.
        """
        return operations.execute_with_recovery(self._scope, capability, params, config, budget)

    def decide(self, action: str, rationale: str = "", context_used: Iterable[str] = ()) -> Coroutine[Any, Any, str]:
        """Records what was decided and why; returns the id of its fact. ``context_used`` are the state keys it rests
        on, as ``key`` (the version current now) or ``key@version``. Raises InvalidCommand."""
        return operations.decide(self._scope, action, rationale, context_used)

    def declare_dependency(
        self,
        downstream: str,
        depends_on: Iterable[str],
        *,
        trigger_when: str = "all_completed",
        count: int = 0,
        name: str = "",
        deadline_seconds: float | None = None,
    ) -> Coroutine[Any, Any, bool]:
        """Triggers ``downstream`` once, with the message ``name`` (default ``dependency.satisfied``), when what it
        depends on is there. Returns whether that is so already. The agent that is triggered finds all that it waited
        for.

        ``depends_on`` has agents by name (all of an agent's work in the run is completed) and
        ``event:search.completed`` (a message of that name was published). It may have ``state:findings`` (the key has a
        value). ``trigger_when`` is ``all_completed``, ``any_completed``, or ``n_completed`` with ``count``. If it is
        not met within ``deadline_seconds``, it is escalated to the supervisor of ``downstream``; without one the run
        fails.

        Raises:
            UnknownAgent: ``downstream``, or an agent it depends on.
            InvalidCommand: among others for agents that would wait for each other; it names the cycle.
            ScopeDenied: an agent triggers another one by a message that it may not publish.
        """
        return operations.declare_dependency(
            self._scope, downstream, depends_on, trigger_when, name, count, deadline_seconds
        )

    def publish(
        self, name: str, data: Any = None, *, deadline_seconds: float | None = None
    ) -> Coroutine[Any, Any, int]:
        """Sends a message to every agent that subscribed to its name; returns how many they are. ``data`` is JSON, a
        pydantic model or a dataclass. A message that is not handled within ``deadline_seconds`` expires and becomes a
        dead letter. Raises ScopeDenied (``publishes``), InvalidCommand, Oversize."""
        return operations.publish(self._scope, name, data, deadline_seconds)

    def send(
        self, agent: str, name: str, data: Any = None, *, deadline_seconds: float | None = None
    ) -> Coroutine[Any, Any, str]:
        """Sends a message to one agent; returns the message's id. Raises UnknownAgent, and what ``publish`` raises."""
        return operations.send(self._scope, agent, name, data, deadline_seconds)

    @overload
    def ask(
        self,
        agent: str,
        data: Any = None,
        *,
        timeout: float | None = ASK_TIMEOUT_S,
        name: str = REQUEST,
        type_: type[T],
    ) -> Coroutine[Any, Any, T]: ...
    @overload
    def ask(
        self,
        agent: str,
        data: Any = None,
        *,
        timeout: float | None = ASK_TIMEOUT_S,
        name: str = REQUEST,
        type_: None = None,
    ) -> Coroutine[Any, Any, Any]: ...
    def ask(
        self,
        agent: str,
        data: Any = None,
        *,
        timeout: float | None = ASK_TIMEOUT_S,
        name: str = REQUEST,
        type_: type[T] | None = None,
    ) -> Coroutine[Any, Any, Any]:
        """Sends a message to one agent and returns what its handler returns: JSON, or ``type_`` (anything pydantic
        validates). The handler is that of the message's ``name``; it gets ``data`` as any message. ``timeout`` in
        seconds, from now until the answer; None: as long as the run lives.

        Raises:
            RequestExpired: no answer in time; the message is in the dead letters, and a late answer changes nothing.
            RequestFailed: the handler failed with its last attempt.
            ContractBroken: the answer does not fit ``type_``.
            InvalidCommand: among others where the agents would wait for each other; it names the cycle.
            UnknownAgent, ScopeDenied, Oversize.
        """
        return operations.ask(self._scope, agent, data, name, timeout, type_)

    def redrive(
        self, delivery_id: str, *, restart: bool = False, repeat_effects: bool = False
    ) -> Coroutine[Any, Any, str]:
        """Puts a dead letter in its agent's inbox again, with new attempts; returns the id of the fact.
        ``delivery_id`` as ``event.data["delivery_id"]`` of ``escalation.raised`` has it. Raises ScopeDenied (an agent
        that is not its supervisor), InvalidCommand (no such dead letter, or redriven too often).

        A delivery that is parked after a divergence goes on with what is recorded, by an agent that was corrected.
        With ``restart`` it begins from nothing: refused where that would repeat effects, unless ``repeat_effects``
        allows it."""
        return operations.redrive(self._scope, delivery_id, restart, repeat_effects)

    def redrive_call(self, call_id: str) -> Coroutine[Any, Any, CallResult]:
        """Makes a failed call again and returns its result. ``call_id`` as ``event.data["call_id"]`` of
        ``escalation.raised`` has it. Raises ScopeDenied (an agent that is not the caller's supervisor) and
        InvalidCommand (no such failed call, its outcome is unknown, or redriven too often). It also raises what
        ``execute`` raises."""
        return operations.redrive_call(self._scope, call_id)

    def repeat_call(self, failed: CallEvent) -> Coroutine[Any, Any, CallResult]:
        """Makes a failed call of another run, one that has ended, again in this run. ``failed`` is the fact of its
        failure. Raises as ``redrive_call``."""
        return operations.repeat_call(self._scope, failed)

    def discard(self, delivery_id: str, reason: str, *, agent: str = "", name: str = "") -> Coroutine[Any, Any, str]:
        """Gives a dead letter of the run up, for a reason, also when the run has ended; returns the id of the fact. A
        parked delivery fails by it.
        ``agent`` and ``name`` say whose message it was, for the record. Raises ScopeDenied (an agent that is not its
        supervisor), InvalidCommand (no reason, no such letter)."""
        return operations.discard(self._scope, delivery_id, reason, agent, name)

    def discard_call(self, call_id: str, reason: str, *, capability: str = "") -> Coroutine[Any, Any, str]:
        """Gives a failed call of the run up, as ``discard``."""
        return operations.discard_call(self._scope, call_id, reason, capability)

    def start_run(
        self,
        workflow: str,
        input: Any = None,
        *,
        run_id: str | None = None,
        complete_when: str = "idle",
        deadline_seconds: float | None = None,
        budget: str | None = None,
    ) -> Coroutine[Any, Any, Child]:
        """Starts a run for this one: ``result = await child`` waits for it, ``child.cancel()`` ends it. Every agent
        that takes part in ``workflow`` and handles ``run.started`` gets ``input``. The child ends when this run ends,
        and its deadline is no later. This run, if it completes when idle, waits for the child. A child that fails fails
        nothing else: ``await child`` raises, and the caller decides.

        ``budget``, such as ``"0.30 USD"``, is set aside of what this run and its agent may spend. The unspent rest
        comes back when the child ends. None: half of what is left, where there is a budget.

        Raises:
            BudgetExceeded: there is not that much left.
            RunExists: this run has started one with this ``run_id`` before. Where it was started by somebody else,
                ``await child`` raises ChildFailed.
            InvalidCommand, Oversize.
        """
        return start_child(self._scope, workflow, input, run_id, complete_when, deadline_seconds, budget)
