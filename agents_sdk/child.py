"""A child run as the handler or client sees it that started it.

All commands go to the parent's run, which has the child's outcome among its own facts. So a handler that is delivered
again finds the same child and the same outcome, however long ago it ended.
"""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from typing import Any

from agents_sdk import operations
from agents_sdk.answers import RunResult, child_error, detail, run_result
from agents_sdk.core import kinds
from agents_sdk.core.commands import Command, RunBody
from agents_sdk.core.ids import RunId
from agents_sdk.scope import Scope
from agents_sdk.values import time_limit


class Child:
    """A run that was started for another one: ``result = await child``. Every operation may raise RunFinished (the
    parent's), UnknownRun, Unanswered, Unreachable."""

    def __init__(self, parent: Scope, run_id: str) -> None:
        self._parent = parent
        self.id = run_id
        """The child's run id."""

    def __await__(self) -> Generator[Any, Any, RunResult]:
        return self.wait().__await__()

    def wait(self, timeout: float | None = None) -> Coroutine[Any, Any, RunResult]:
        """Waits until the child has completed, ``timeout`` seconds at most (None: for ever).

        Raises:
            ChildFailed: it ended without a result; the fields have its ``run_id``, ``status`` and ``reason``.
            ChildCancelled: it was cancelled; the same fields.
            RunFinished: the parent ended first, and the child with it.
            Unanswered: it goes on still.
        """
        return self._ended(
            self._parent.command(kinds.AWAIT_CHILD, RunBody(child_run_id=RunId(self.id))),
            time_limit("timeout", timeout),
        )

    def cancel(self, reason: str = "") -> Coroutine[Any, Any, None]:
        """Tells the child to end as cancelled; it goes on until it has heard. Raises RunFinished where it has ended."""
        return self._send(self._parent.command(kinds.CANCEL_CHILD, RunBody(child_run_id=RunId(self.id), reason=reason)))

    async def _ended(self, command: Command, timeout: float | None) -> RunResult:
        reply = await self._parent.sent(command, timeout)
        if reply.status != "completed":
            raise child_error(self.id, reply)
        return run_result(self.id, reply)

    async def _send(self, command: Command) -> None:
        await self._parent.sent(command)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id!r})"


def start_child(
    parent: Scope,
    workflow: str,
    input: Any,
    run_id: str | None,
    complete_when: str,
    deadline_seconds: float | None,
    budget: str | None,
) -> Coroutine[Any, Any, Child]:
    """Starts a run for the parent. Raises RunExists, BudgetExceeded, InvalidCommand, Oversize, RunFinished, UnknownRun,
    Unanswered, Unreachable."""
    body = operations.start_body(
        parent, workflow, input, complete_when, deadline_seconds, budget, child_run_id=run_id or ""
    )
    return _started(parent, parent.command(kinds.START_CHILD, body))


async def _started(parent: Scope, command: Command) -> Child:
    return Child(parent, detail(await parent.sent(command))["child_run_id"])
