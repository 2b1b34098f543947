"""Long-term memory: state that outlives runs. The same machinery as a run's, under ``memory/<namespace>``. Pure.

A memory begins with the first command about it and never ends. It has state and nothing else: no messages, no calls, no
dependencies. Its facts carry the correlation of the run that used it.
"""

from __future__ import annotations

import re
from typing import Final

from agents_sdk.core import kinds
from agents_sdk.core.commands import Command
from agents_sdk.core.ids import CommandId, RunId
from agents_sdk.core.ledger.scribe import Refusal
from agents_sdk.core.ledger.state import Run

PREFIX: Final = "memory/"
NAMESPACE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")
"""As the names of agents: it becomes part of a Kafka key, of globs and of paths."""
KINDS: Final = frozenset(
    {
        kinds.SET_STATE,
        kinds.GET_STATE,
        kinds.GET_STATES,
        kinds.DELETE_STATE,
        kinds.LIST_STATE,
        kinds.GET_HISTORY,
        kinds.TIMER_FIRED,
    }
)
"""Commands that a memory takes."""
RECENT_LIMIT: Final = 16_384
"""Answers a memory keeps, of all who use it: whether a handler's delivery was settled is known in the partition of its
run only. A handler that is run again after that many others used the memory is answered as if it were new."""


def is_memory(run_id: RunId) -> bool:
    """Whether this is about a memory and not about a run."""
    return run_id.startswith(PREFIX)


def scoped(run_id: RunId, key: str) -> str:
    """The name that globs of roles and contracts are held against: a run's keys as they are, a memory's as
    ``memory/<namespace>/<key>``."""
    return f"{run_id}/{key}" if is_memory(run_id) else key


def check(command: Command) -> None:
    """Raises Refusal where a command is about a memory and is not for one."""
    if not is_memory(command.run_id):
        return
    namespace = command.run_id.removeprefix(PREFIX)
    if not NAMESPACE.fullmatch(namespace):
        message = (
            f"a memory's namespace is 1 to 200 of A-Z a-z 0-9 . _ - and starts with none of . -, not {namespace!r}"
        )
        raise Refusal("invalid_command", message, field="run_id")
    if command.kind not in KINDS:
        raise Refusal(
            "invalid_command", f"a memory has state and nothing else: it takes no {command.kind}", field="kind"
        )


def opens(command: Command) -> bool:
    """Whether the command begins its memory, if that is not there yet."""
    if not is_memory(command.run_id) or command.kind not in KINDS - {kinds.TIMER_FIRED}:
        return False
    return bool(NAMESPACE.fullmatch(command.run_id.removeprefix(PREFIX)))


def unopened(run_id: RunId) -> Run:
    """A memory before its first fact."""
    return Run(run_id=run_id, workflow="", correlation_id=run_id, start_command=CommandId(""), complete_when="explicit")
