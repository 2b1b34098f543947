"""Branches: the places in the order of a handler's calls, and the tasks that have one.

A handler's own task counts its calls. Each task that it starts has a branch of its own. Its name is that of its
function, with the number of tasks of that function that were started before. So the ids of its calls do not depend on
who is faster. It needs a task factory, which chains to the one that the loop has.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from agents_sdk.context import Context

PREFIX_CHARS: Final = 400
"""Of a task's prefix; a longer one, of tasks deep in each other, is its hash."""


class Branch:
    """A place in the order of a handler's calls: the n-th call of this branch has the id ``<prefix><n>``. It belongs to
    one task, unless it is ``named``."""

    __slots__ = ("at", "children", "context", "count", "draws", "named", "prefix", "task")

    def __init__(self, context: Context, prefix: str, *, named: bool = False, at: int = 0) -> None:
        self.context = context
        self.prefix = prefix
        self.count = 0
        self.draws = 0
        """Ids and random numbers that were derived here."""
        self.named = named
        self.task = None if named else current_task()
        self.at = at
        """The time that the handler knows of here, microseconds UTC."""
        self.children: Counter[str] = Counter()
        """Tasks started here, by the name of their function."""

    def next(self) -> str:
        """The place of the next call."""
        name = f"{self.prefix}{self.count}"
        self.count += 1
        return name

    def draw(self, what: str) -> str:
        """The place of the next derived value."""
        name = f"{self.prefix}{what}/{self.draws}"
        self.draws += 1
        return name

    def child(self, name: str) -> Branch:
        """The branch of a task that is started here, which binds itself to that task."""
        number = self.children[name]
        self.children[name] += 1
        prefix = f"{self.prefix}{name}#{number}/"
        if len(prefix) > PREFIX_CHARS:
            prefix = f"#{blake2b(prefix.encode(), digest_size=16).hexdigest()}/"
        branch = Branch(self.context, prefix, at=self.at)
        branch.task = None
        return branch

    def here(self) -> bool:
        """Whether the running task may use this branch; one that nobody has used is its first user's."""
        if self.named:
            return True
        if self.task is None:
            self.task = current_task()
        return self.task is current_task()


def current_task() -> asyncio.Task[Any] | None:
    """The running task; None outside a loop."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


branch: ContextVar[Branch | None] = ContextVar("backplane_branch", default=None)


@contextmanager
def within(entered: Branch | None) -> Iterator[None]:
    """Runs in this branch; None: in no handler's."""
    token = branch.set(entered)
    try:
        yield
    finally:
        branch.reset(token)


class _Factory:
    """Gives each task that a handler starts a branch."""

    def __init__(self, before: Any) -> None:
        self._before = before

    def __call__(self, loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], **options: Any) -> Any:
        context = options.get("context")
        parent = branch.get() if context is None else context.get(branch)
        if parent is not None:
            context = contextvars.copy_context() if context is None else context.copy()
            context.run(branch.set, parent.child(_name(coro)))
            options["context"] = context
        if self._before is not None:
            return self._before(loop, coro, **options)
        return asyncio.Task(coro, loop=loop, **options)


def _name(coro: Any) -> str:
    name = getattr(coro, "__qualname__", "") or type(coro).__qualname__
    return str(name).rpartition(".")[2][:100].replace("/", "%2F")


def name_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """From now on, tasks that handlers start on this loop have branches."""
    before = loop.get_task_factory()
    if not isinstance(before, _Factory):
        loop.set_task_factory(cast("Any", _Factory(before)))
