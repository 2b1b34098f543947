"""The imports of an author of agents. Exports only. A name is loaded when it is first used. The commands and the
services import parts of this package, and must not pay for the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from agents_sdk.agent import Agent
    from agents_sdk.answers import RunResult
    from agents_sdk.blocking import Backplane, Run
    from agents_sdk.child import Child
    from agents_sdk.client import AsyncBackplane
    from agents_sdk.context import Context
    from agents_sdk.contracts import MessageContract, StateContract
    from agents_sdk.errors import (
        AttemptTaken,
        BackplaneError,
        BreakerOpen,
        BudgetExceeded,
        CallFailed,
        CallOverBudget,
        CallSettled,
        ChildCancelled,
        ChildFailed,
        ContractBroken,
        ContractViolated,
        DeliverySettled,
        Forged,
        IdentityRefused,
        InvalidCommand,
        KeyRevoked,
        OutcomeUnknown,
        Overloaded,
        Oversize,
        Refused,
        ReplayedCommand,
        RequestExpired,
        RequestFailed,
        RunExists,
        RunFinished,
        ScopeDenied,
        StaleCommand,
        StepFailed,
        StepOutcomeUnknown,
        Unanswered,
        Unauthenticated,
        UnknownAgent,
        UnknownCall,
        UnknownRun,
        Unreachable,
        VersionConflict,
    )
    from agents_sdk.event import Event
    from agents_sdk.operations import CallResult
    from agents_sdk.recovery import RecoveryConfig
    from agents_sdk.retry import Retry
    from agents_sdk.run import AsyncRun
    from agents_sdk.runner import AgentsRunner
    from agents_sdk.settings import NotConfigured, Settings, load_settings
    from agents_sdk.state import Entry
    from agents_sdk.step_functions import step
    from agents_sdk.steps import NotDone

__all__ = [
    "Agent",
    "AgentsRunner",
    "AsyncBackplane",
    "AsyncRun",
    "AttemptTaken",
    "Backplane",
    "BackplaneError",
    "BreakerOpen",
    "BudgetExceeded",
    "CallFailed",
    "CallOverBudget",
    "CallResult",
    "CallSettled",
    "Child",
    "ChildCancelled",
    "ChildFailed",
    "Context",
    "ContractBroken",
    "ContractViolated",
    "DeliverySettled",
    "Entry",
    "Event",
    "Forged",
    "IdentityRefused",
    "InvalidCommand",
    "KeyRevoked",
    "MessageContract",
    "NotConfigured",
    "NotDone",
    "OutcomeUnknown",
    "Overloaded",
    "Oversize",
    "RecoveryConfig",
    "Refused",
    "ReplayedCommand",
    "RequestExpired",
    "RequestFailed",
    "Retry",
    "Run",
    "RunExists",
    "RunFinished",
    "RunResult",
    "ScopeDenied",
    "Settings",
    "StaleCommand",
    "StateContract",
    "StepFailed",
    "StepOutcomeUnknown",
    "Unanswered",
    "Unauthenticated",
    "UnknownAgent",
    "UnknownCall",
    "UnknownRun",
    "Unreachable",
    "VersionConflict",
    "load_settings",
    "step",
]

_HOME: Final = {
    "NotDone": "steps",
    "Agent": "agent",
    "AgentsRunner": "runner",
    "AsyncBackplane": "client",
    "AsyncRun": "run",
    "Backplane": "blocking",
    "CallResult": "operations",
    "Child": "child",
    "Context": "context",
    "Entry": "state",
    "Event": "event",
    "MessageContract": "contracts",
    "NotConfigured": "settings",
    "RecoveryConfig": "recovery",
    "Retry": "retry",
    "Run": "blocking",
    "RunResult": "answers",
    "Settings": "settings",
    "StateContract": "contracts",
    "load_settings": "settings",
    "step": "step_functions",
}
"""Where each name is, unless in ``errors``."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found = getattr(import_module(f"{__name__}.{_HOME.get(name, 'errors')}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return __all__
