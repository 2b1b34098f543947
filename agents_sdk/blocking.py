"""The synchronous face, for scripts and notebooks: the objects of ``client`` and ``run`` with blocking methods.

An event loop runs in a thread of its own. Nothing is written twice: each method here is made of the coroutine method
it is named after, whose signature and docstring it keeps.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, Self, TypeVar

from typing_extensions import deprecated

from agents_sdk.child import Child as AsyncChild
from agents_sdk.client import AsyncBackplane
from agents_sdk.comms import COMMS, AsyncComms
from agents_sdk.run import AsyncRun
from agents_sdk.run_artifacts import RunArtifacts as AsyncRunArtifacts
from agents_sdk.state import State as AsyncState

if TYPE_CHECKING:
    from agents_sdk.settings import Settings

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
A = TypeVar("A")

CLOSE_LIMIT_S: Final = 15.0


class LoopThread:
    """An event loop in a daemon thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="backplane", daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether it has not been stopped."""
        return self._thread.is_alive()

    def wait(self, call: Callable[[], Coroutine[Any, Any, R]]) -> R:
        """Makes a coroutine in the loop's thread and waits for its result; Ctrl-C cancels it."""
        if threading.current_thread() is self._thread:
            raise RuntimeError("this would wait for itself; in coroutines use AsyncBackplane")
        if not self.running:
            raise RuntimeError("this Backplane is closed; connect again")

        async def run() -> R:
            return await call()

        future = asyncio.run_coroutine_threadsafe(run(), self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def stop(self) -> None:
        """Ends loop and thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CLOSE_LIMIT_S)
        if not self._thread.is_alive():
            self._loop.close()


class Face:
    """A blocking object around an asynchronous one."""

    def __init__(self, inner: Any, loop: LoopThread) -> None:
        self._inner = inner
        self._loop = loop


def blocking(method: Callable[Concatenate[A, P], Coroutine[Any, Any, R]]) -> Callable[Concatenate[Any, P], R]:
    """The blocking method of a Face for this one of its inner object."""
    name = method.__name__

    @functools.wraps(method)
    def wait(self: Face, /, *args: P.args, **kwargs: P.kwargs) -> R:
        # looked up by name: the inner object may be of a class that overrides it
        result: R = self._loop.wait(lambda: getattr(self._inner, name)(*args, **kwargs))
        return result

    return wait


def blocking_deprecated(
    method: Callable[Concatenate[A, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[Any, P], R]:
    """As ``blocking``, of a method that is deprecated: the warning names the line of the caller, in its own thread."""
    undecorated: Callable[..., Coroutine[Any, Any, R]] = method.__wrapped__  # type: ignore[attr-defined]  # by deprecated

    @functools.wraps(undecorated)
    def wait(self: Face, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._loop.wait(lambda: undecorated(self._inner, *args, **kwargs))

    found: Callable[Concatenate[Any, P], R] = deprecated(method.__deprecated__)(wait)  # type: ignore[attr-defined]
    return found


def blocking_as(
    method: Callable[Concatenate[A, P], Coroutine[Any, Any, R]], face: Callable[[R, LoopThread], S]
) -> Callable[Concatenate[Any, P], S]:
    """As ``blocking``, with a Face around the result."""
    plain = blocking(method)

    @functools.wraps(method)
    def wait(self: Face, /, *args: P.args, **kwargs: P.kwargs) -> S:
        return face(plain(self, *args, **kwargs), self._loop)

    return wait


class State(Face):
    """A run's state; see ``agents_sdk.state.State``."""

    get = blocking(AsyncState.get)
    get_many = blocking(AsyncState.get_many)
    entry = blocking(AsyncState.entry)
    set = blocking(AsyncState.set)
    update = blocking(AsyncState.update)
    delete = blocking(AsyncState.delete)
    list = blocking(AsyncState.list)
    history = blocking(AsyncState.history)


class RunArtifacts(Face):
    """A run's files; see ``agents_sdk.run_artifacts.RunArtifacts``."""

    put = blocking(AsyncRunArtifacts.put)
    get = blocking(AsyncRunArtifacts.get)
    list = blocking(AsyncRunArtifacts.list)


class Child(Face):
    """A run that was started for another one; see ``agents_sdk.child.Child``."""

    _inner: AsyncChild

    @property
    def id(self) -> str:
        """The child's run id."""
        return self._inner.id

    wait = blocking(AsyncChild.wait)
    cancel = blocking(AsyncChild.cancel)

    def __repr__(self) -> str:
        return f"Child({self.id!r})"


class Run(Face):
    """A run as its starter sees it; see ``agents_sdk.run.AsyncRun``."""

    _inner: AsyncRun

    def __init__(self, inner: AsyncRun, loop: LoopThread) -> None:
        super().__init__(inner, loop)
        self.state = State(inner.state, loop)
        """The run's state; its last one, read-only, once it has ended."""
        self.artifacts = RunArtifacts(inner.artifacts, loop)
        """The run's files."""

    @property
    def id(self) -> str:
        """The run's id."""
        return self._inner.id

    @property
    def recipients(self) -> int | None:
        """How many agents were given the run's input at its start; None: it was not started by this handle."""
        return self._inner.recipients

    ask = blocking(AsyncRun.ask)
    call_tool = blocking(AsyncRun.call_tool)
    cancel = blocking(AsyncRun.cancel)
    complete = blocking(AsyncRun.complete)
    decide = blocking(AsyncRun.decide)
    declare_dependency = blocking(AsyncRun.declare_dependency)
    discard = blocking(AsyncRun.discard)
    discard_call = blocking(AsyncRun.discard_call)
    discover = blocking(AsyncRun.discover)
    execute = blocking(AsyncRun.execute)
    execute_with_recovery = blocking(AsyncRun.execute_with_recovery)
    fail = blocking(AsyncRun.fail)
    publish = blocking(AsyncRun.publish)
    redrive = blocking(AsyncRun.redrive)
    redrive_call = blocking(AsyncRun.redrive_call)
    repeat_call = blocking(AsyncRun.repeat_call)
    send = blocking(AsyncRun.send)
    start_run = blocking_as(AsyncRun.start_run, Child)
    tools = blocking(AsyncRun.tools)
    wait = blocking(AsyncRun.wait)

    def __repr__(self) -> str:
        return f"Run({self.id!r})"


class Comms(Face):
    """The form of before; see ``agents_sdk.comms``."""

    ask = blocking(AsyncComms.ask)
    declare_dependency = blocking(AsyncComms.declare_dependency)
    discard = blocking(AsyncComms.discard)
    discard_call = blocking(AsyncComms.discard_call)
    publish = blocking(AsyncComms.publish)
    redrive = blocking(AsyncComms.redrive)
    send = blocking(AsyncComms.send)


class Backplane(Face):
    """A connection to Backplane, for code without an event loop. ``with Backplane.connect() as backplane: …``

    May be used from several threads.
    """

    _inner: AsyncBackplane

    @classmethod
    def connect(cls, settings: Settings | None = None, name: str = "client") -> Self:
        """Connects. ``settings`` None: where ``load_settings`` finds them. ``name`` stands as the agent on what this
        client does. Raises NotConfigured, Unreachable, TopicsNotApplied, SchemasNotApplied."""
        loop = LoopThread()
        inner = AsyncBackplane.connect(settings, name)
        try:
            loop.wait(inner.open)
        except BaseException:
            loop.stop()
            raise
        return cls(inner, loop)

    def close(self) -> None:
        """Sends what is queued and disconnects. Twice does no harm."""
        if self._loop.running:
            self._loop.wait(self._inner.close)
            self._loop.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    start_run = blocking_as(AsyncBackplane.start_run, Run)
    resume_run = blocking_as(AsyncBackplane.resume_run, Run)
    execute = blocking_deprecated(AsyncBackplane.execute)
    execute_with_recovery = blocking_deprecated(AsyncBackplane.execute_with_recovery)
    redrive_call = blocking_deprecated(AsyncBackplane.redrive_call)
    repeat_call = blocking_deprecated(AsyncBackplane.repeat_call)

    @property
    @deprecated(COMMS)
    def comms(self) -> Comms:
        """Messages and dependencies, in the form of before."""
        return Comms(AsyncComms(self._inner), self._loop)

    def run(self, run_id: str) -> Run:
        """A handle of a run that was started elsewhere or before; nothing is sent."""
        return Run(self._inner.run(run_id), self._loop)

    def memory(self, namespace: str) -> State:
        """A long-term memory, shared by all runs; see ``Context.memory``."""
        return State(self._inner.memory(namespace), self._loop)
