"""Whatever begins in a run has an end in its record: told by naive bookkeeping."""

from __future__ import annotations

from collections.abc import Sequence

from agents_sdk.core.facts import Fact


def unended(facts: Sequence[Fact]) -> list[str]:
    """Whatever began and has no end, by naive bookkeeping."""
    open_: dict[str, str] = {}
    for fact in facts:
        for begins, ends, name in (
            ("MessageDelivered", ("HandlerCompleted", "MessageDeadLettered", "DeliveryCancelled"), "delivery_id"),
            ("RequestSent", ("RequestAnswered", "RequestFailed", "RequestExpired", "RequestCancelled"), "request_id"),
            ("CallRequested", ("CallCompleted", "CallFailed", "CallCancelled"), "call_id"),
            ("ChildStarted", ("ChildEnded", "ChildOrphaned"), "child_run_id"),
            (
                "DependencyDeclared",
                ("DependencySatisfied", "DependencyExpired", "DependencyCancelled"),
                "dependency_id",
            ),
        ):
            if fact.kind == begins:
                open_[f"{name}/{getattr(fact, name)}"] = fact.kind
            elif fact.kind in ends:
                open_.pop(f"{name}/{getattr(fact, name)}", None)
    return list(open_.values())
