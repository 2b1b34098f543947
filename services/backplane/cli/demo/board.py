"""The display while the demo runs. On a terminal it is one line an agent, drawn again as facts come and gone at the
end, for the timeline follows. In a pipe it is a plain line for important facts; with ``--json`` nothing. All of it on
stderr."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any, Final, Protocol, Self

from agents_sdk.core import kinds
from agents_sdk.core.facts import (
    AttemptEvent,
    CallEvent,
    DecisionEvent,
    Fact,
    MessageEvent,
    StateEvent,
)
from backplane.cli.output import message

AGENTS: Final = ("research_agent", "content_agent", "review_agent", "media_agent", "publish_agent")
PARTS: Final = ("kafka", "registry", "sink", "ledger", "executor", "search", "newsroom", "press")
"""Shown while they come up."""


class Board(Protocol):
    """Where progress goes; a context manager."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def starting(self, states: dict[str, str]) -> None:
        """The parts' states while they come up."""

    def said(self, text: str) -> None:
        """A step of the demo itself."""

    def fact(self, fact: Fact) -> None:
        """The events of the run."""


class AgentBoard:
    """Work of each agent, folded from the facts."""

    def __init__(self) -> None:
        self.now = dict.fromkeys(AGENTS, ("waiting", ""))
        """Agent → (waiting, working, done, warned; what)."""
        self._callers: dict[str, str] = {}

    def take(self, fact: Fact) -> str:
        """Folds a fact; the agent that it is about, empty where it is of no interest here."""
        agent, state, what = self._state_of(fact)
        if agent in self.now:
            self.now[agent] = (state, what or self.now[agent][1])
            return agent
        return ""

    def _state_of(self, fact: Fact) -> tuple[str, str, str]:
        match fact:
            case MessageEvent(kind=kinds.MESSAGE_DELIVERED):
                return fact.recipient, "working", f"handles {fact.name}"
            case MessageEvent(kind=kinds.HANDLER_COMPLETED):
                return fact.agent, "done", ""
            case MessageEvent(kind=kinds.HANDLER_FAILED):
                return fact.agent, "warned", f"failed on {fact.name}: {fact.error_message}"
            case CallEvent(kind=kinds.CALL_REQUESTED):
                self._callers[fact.call_id] = fact.agent
                return fact.agent, "working", f"calls {fact.capability}"
            case AttemptEvent(kind=kinds.ATTEMPT_FAILED):
                caller = self._callers.get(fact.call_id, "")
                return caller, "warned", f"{fact.provider}: {fact.error_class.replace('_', ' ')}, asks another provider"
            case DecisionEvent():
                return fact.agent, "working", f"decides: {fact.action}"
            case StateEvent(kind=kinds.STATE_WRITTEN):
                return fact.agent, "working", f"writes {fact.key}@{fact.version}"
            case _:
                return "", "", ""


class NoBoard:
    """For programs: they read the end."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def starting(self, states: dict[str, str]) -> None:
        """Nothing."""

    def said(self, text: str) -> None:
        """Nothing."""

    def fact(self, fact: Fact) -> None:
        """Nothing."""


class Plain(NoBoard):
    """For a pipe or a log: lines."""

    KINDS: Final = (DecisionEvent, AttemptEvent)

    def __init__(self) -> None:
        self._doing = AgentBoard()

    def said(self, text: str) -> None:
        """A line."""
        message(text)

    def fact(self, fact: Fact) -> None:
        """A line for a decision, a failed attempt and a failed handler."""
        agent = self._doing.take(fact)
        if agent and (isinstance(fact, self.KINDS) or fact.kind == kinds.HANDLER_FAILED):
            message(f"  {agent:<15} {self._doing.now[agent][1]}")


class Live(NoBoard):
    """For a person at a terminal."""

    MARKS: Final = {
        "waiting": ("·", "dim"),
        "working": ("●", "cyan"),
        "done": ("✓", "green"),
        "warned": ("!", "yellow"),
    }

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live as RichLive

        self._doing = AgentBoard()
        self._live = RichLive(console=Console(stderr=True), transient=True, refresh_per_second=12)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def starting(self, states: dict[str, str]) -> None:
        """The parts, each with its mark."""
        from backplane.cli.data_text import Text

        line = Text("  starting")
        for name in PARTS:
            state = states.get(name, "")
            ready = state == "ready"
            mark, tone = self.MARKS["done" if ready else "working" if state == "starting" else "waiting"]
            line.append(f"  {mark} ", tone).append(name, "" if ready else "dim")
        self._live.update(line)

    def said(self, text: str) -> None:
        """A line that stays."""
        from backplane.cli.data_text import Text

        self._live.update(Text(""))
        self._live.console.print(Text(text))

    def fact(self, fact: Fact) -> None:
        """The agents, each with what it does."""
        if self._doing.take(fact):
            self._live.update(self._table())

    def _table(self) -> Any:
        from rich.table import Table

        from backplane.cli.data_text import Text

        table = Table.grid(padding=(0, 2, 0, 0))
        for agent, (state, what) in self._doing.now.items():
            mark, tone = self.MARKS[state]
            table.add_row(Text(f"  {mark} {agent}", tone), Text(what, "dim" if state == "done" else "", no_wrap=True))
        return table


def board(as_json: bool) -> Board:
    """The one that fits the reader of stderr."""
    if as_json:
        return NoBoard()
    import os

    return Live() if sys.stderr.isatty() and os.environ.get("TERM") != "dumb" else Plain()
