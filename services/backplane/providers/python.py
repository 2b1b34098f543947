"""Asks a provider that is a Python function once: plain functions in a pool of threads, async ones on the loop."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from agents_sdk.artifacts import ArtifactStore, UnknownArtifact
from agents_sdk.errors import Unreachable
from backplane.manifests.model import PythonProvider
from backplane.manifests.python_functions import LOADING, load
from backplane.providers.attempts import Attempts, Surroundings
from backplane.recovery.outcome import (
    Answer,
    AttemptOutcome,
    AttemptRequest,
    Failure,
    ProviderError,
    Reconciled,
    Usage,
    counted,
)

T = TypeVar("T")
UNCOUNTED: Final = ("input_tokens", "output_tokens", "images", "seconds", "bytes")
"""Facts that a bare result of a function does not have."""
MESSAGE_LIMIT: Final = 500
"""Characters of an exception's text in a message."""


class Resources:
    """Things that providers of one process build once and share, such as an opened index. Safe to use from threads."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}
        self._making: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, key: str, make: Callable[[], T]) -> T:
        """The product of ``make`` for this key, made at most once at a time; not kept when it raises."""
        with self._lock:
            if key in self._made:
                return self._made[key]  # type: ignore[no-any-return]  # what was made for a key has that key's type
            making = self._making.setdefault(key, threading.Lock())
        with making:
            if key not in self._made:
                self._made[key] = make()
            return self._made[key]  # type: ignore[no-any-return]  # as above


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderContext:
    """The context of a Python provider, besides the params."""

    data_dir: Path
    """The platform's data directory; caches live below it."""
    artifacts: ArtifactStore
    """Files that params refer to. A file that the provider makes is a Blob within its result."""
    config: Mapping[str, Any]
    """The manifest's ``config``."""
    resources: Resources
    call_id: str
    """The idempotency key: the same in every attempt at this call."""
    run_id: str
    agent: str
    attempt: int
    timeout_seconds: float


class PythonAttempts(Attempts):
    """Makes attempts at one Python provider."""

    def __init__(
        self,
        spec: PythonProvider,
        data_dir: Path,
        resources: Resources,
        pool: ThreadPoolExecutor,
        artifacts: ArtifactStore,
        threads: int = 1,
    ) -> None:
        """``threads``: how many ``pool`` has."""
        self._spec = spec
        self._threads = threads
        self._artifacts = artifacts
        self._data_dir = data_dir
        self._resources = resources
        self._pool = pool
        self._asking: PythonAttempts | None = None
        """The way of the reconcile function."""
        self._function: Callable[..., Any] | None = None
        self._async = False

    async def attempt(self, request: AttemptRequest) -> AttemptOutcome:
        """One call, one outcome; raises only CancelledError. A plain function that outlives its time keeps its thread
        until it returns; its late result is dropped."""
        try:
            function = self._function or self._load()
        except (Exception, SystemExit) as error:  # noqa: BLE001  # what a module does as it is imported may fail in any way
            message = f"function {self._spec.function!r} cannot be loaded: {_named(error)}"
            return Failure(error_class="outage", code="provider_broken", message=message[:MESSAGE_LIMIT])
        context = ProviderContext(
            data_dir=self._data_dir,
            artifacts=self._artifacts,
            config=self._spec.config,
            resources=self._resources,
            call_id=request.call_id,
            run_id=request.run_id,
            agent=request.agent,
            attempt=request.attempt,
            timeout_seconds=request.timeout_seconds,
        )
        started = False
        try:
            async with asyncio.timeout(request.timeout_seconds):
                started = True
                if self._async:
                    return _answer(await function(request.params, context))
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._pool, _timed, function, request.params, context)
        except BaseException as error:  # a provider may raise anything; all of it becomes a recorded failure
            if isinstance(error, asyncio.CancelledError) and _cancelled():
                raise
            return _failure(error, request.timeout_seconds, uncertain=started)

    async def reconcile(self, request: AttemptRequest) -> Reconciled:
        """The answer of the provider's own function about an attempt made before; raises only CancelledError."""
        if not self._spec.reconcile:
            return Reconciled("unknown", message="its manifest has no reconcile")
        if self._asking is None:
            spec = self._spec.model_copy(update={"function": self._spec.reconcile, "reconcile": ""})
            self._asking = PythonAttempts(spec, self._data_dir, self._resources, self._pool, self._artifacts)
        outcome = await self._asking.attempt(request)
        if isinstance(outcome, Failure):
            return Reconciled("unknown", message=outcome.message)
        if outcome.result is None:
            return Reconciled("unknown")
        if outcome.result is False:
            return Reconciled("not_happened")
        return Reconciled("happened", replace(outcome, result=None) if outcome.result is True else outcome)

    def slots(self, concurrency: int) -> int:
        """A plain function has a thread of the pool each; an async one, and one that cannot be loaded, needs none."""
        with contextlib.suppress(*LOADING):
            self._load()
        return concurrency if self._async else min(concurrency, self._threads)

    async def close(self) -> None:
        """Nothing to close."""

    def _load(self) -> Callable[..., Any]:
        function = load(self._spec.function)
        self._async = inspect.iscoroutinefunction(function)
        self._function = function
        return function


def make(spec: PythonProvider, around: Surroundings) -> PythonAttempts:
    """A Python function, ready to be asked."""
    return PythonAttempts(spec, around.data_dir, around.resources, around.pool, around.artifacts, around.threads)


def _timed(function: Callable[..., Any], params: Mapping[str, Any], context: ProviderContext) -> AttemptOutcome:
    """Runs in a pool thread: the thread's CPU time is this attempt's."""
    before = time.thread_time()
    try:
        outcome: AttemptOutcome = _answer(function(params, context))
    except BaseException as error:  # noqa: BLE001  # a provider may raise anything; all of it becomes a recorded failure
        outcome = _failure(error, context.timeout_seconds, uncertain=True)
    return replace(outcome, usage=replace(outcome.usage, cpu_seconds=time.thread_time() - before))


def _answer(value: Any) -> Answer:
    """The function's result; its counts are those of an untyped program."""
    if not isinstance(value, Answer):
        return Answer(result=value, usage=counted({}, UNCOUNTED))
    usage: object = value.usage
    if not isinstance(usage, Usage):  # nobody checks the types of a provider's own code
        return replace(value, usage=counted({}, UNCOUNTED))
    counted_usage = counted({each.name: getattr(usage, each.name) for each in fields(Usage)})
    return replace(value, usage=replace(counted_usage, uncounted=counted_usage.uncounted | usage.uncounted))


def _cancelled() -> bool:
    """Whether it is we who are to stop, and not the function that raised what looks like it."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if not isinstance(error, ImportError | AttributeError) else str(error)


def _failure(error: BaseException, timeout_seconds: float, *, uncertain: bool) -> Failure:
    if isinstance(error, ProviderError):
        # the provider says itself what happened; only what it calls passing or unknown may have had an effect
        doubtful = uncertain and error.error_class in ("transient", "unknown")
        return Failure(
            error_class=error.error_class,
            code=error.code,
            message=str(error)[:MESSAGE_LIMIT],
            retry_after=error.retry_after,
            uncertain=doubtful,
        )
    if isinstance(error, UnknownArtifact):
        message = error.message[:MESSAGE_LIMIT]
        return Failure(error_class="invalid_request", code=error.code, message=message, uncertain=uncertain)
    if isinstance(error, TimeoutError):
        message = f"no result within {timeout_seconds:g} s"
        return Failure(error_class="transient", code="timeout", message=message, uncertain=uncertain)
    if isinstance(error, ConnectionError | Unreachable):
        message = f"{type(error).__name__}: {error}"[:MESSAGE_LIMIT]
        return Failure(error_class="outage", code="connection_failed", message=message, uncertain=uncertain)
    message = f"{type(error).__name__}: {error}"[:MESSAGE_LIMIT]
    return Failure(error_class="unknown", code="exception", message=message, uncertain=uncertain)
