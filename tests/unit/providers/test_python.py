"""Python functions as providers."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import types
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from agents_sdk.artifacts import ArtifactStore
from agents_sdk.core.ids import CallId, RunId
from backplane.manifests.model import PythonProvider
from backplane.providers.python import ProviderContext, PythonAttempts, Resources
from backplane.recovery.outcome import Answer, AttemptRequest, Failure, ProviderError, Usage

MODULE = "functions_of_a_test"


def plain(params: Mapping[str, Any], context: ProviderContext) -> dict[str, Any]:
    return {"thread": threading.current_thread().name, "config": dict(context.config), "id": context.call_id}


async def on_the_loop(params: Mapping[str, Any], context: ProviderContext) -> dict[str, Any]:
    return {"thread": threading.current_thread().name}


def busy(params: Mapping[str, Any], context: ProviderContext) -> Answer:
    until = time.thread_time() + 0.02
    while time.thread_time() < until:
        pass
    return Answer(result={}, usage=Usage(input_tokens=3), model="m")


def slow(params: Mapping[str, Any], context: ProviderContext) -> None:
    time.sleep(0.3)


async def slow_on_the_loop(params: Mapping[str, Any], context: ProviderContext) -> None:
    await asyncio.sleep(5)


def limited(params: Mapping[str, Any], context: ProviderContext) -> None:
    raise ProviderError("rate_limited", "slow down", retry_after=3.0)


def broken(params: Mapping[str, Any], context: ProviderContext) -> None:
    raise KeyError("oops")


def unreachable(params: Mapping[str, Any], context: ProviderContext) -> None:
    raise ConnectionRefusedError("nobody there")


@pytest.fixture(autouse=True)
def module(monkeypatch: pytest.MonkeyPatch) -> None:
    """The functions above, importable by name."""
    made = types.ModuleType(MODULE)
    made.__dict__.update({name: value for name, value in globals().items() if callable(value)})
    monkeypatch.setitem(sys.modules, MODULE, made)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Two threads."""
    with ThreadPoolExecutor(2, thread_name_prefix="pool") as made:
        yield made


async def ask(pool: ThreadPoolExecutor, function: str, timeout: float = 5.0) -> Any:
    """One attempt at the function."""
    name = function if ":" in function else f"{MODULE}:{function}"
    spec = PythonProvider(name="p", kind="python", function=name, config={"k": 1})
    request = AttemptRequest(
        call_id=CallId("c"), run_id=RunId("r"), agent="a", attempt=1, params={}, timeout_seconds=timeout
    )
    return await PythonAttempts(spec, Path("/data"), Resources(), pool, ArtifactStore(Path("/data"))).attempt(request)


async def test_plain_functions_run_in_the_pool_async_ones_on_the_loop(pool: ThreadPoolExecutor) -> None:
    """So that neither blocks the other; the context carries the manifest's config and the call's id."""
    threaded, looped = await ask(pool, "plain"), await ask(pool, "on_the_loop")

    assert threaded.result["thread"].startswith("pool")
    assert (threaded.result["config"], threaded.result["id"]) == ({"k": 1}, "c")
    assert looped.result["thread"] == threading.main_thread().name


async def test_cpu_time_is_measured(pool: ThreadPoolExecutor) -> None:
    """It is what built-in providers are priced by; what the function reports is kept."""
    answer = await ask(pool, "busy")

    assert answer.usage.cpu_seconds >= 0.02
    assert (answer.usage.input_tokens, answer.model) == (3, "m")


@pytest.mark.parametrize(
    ("function", "error_class", "code", "uncertain"),
    [
        ("limited", "rate_limited", "rate_limited", False),
        ("broken", "unknown", "exception", True),
        ("unreachable", "outage", "connection_failed", True),
        ("slow", "transient", "timeout", True),
        ("slow_on_the_loop", "transient", "timeout", True),
        ("no_such_function", "outage", "provider_broken", False),
        ("no_such_module_at_all:f", "outage", "provider_broken", False),
        ("os:sep", "outage", "provider_broken", False),
    ],
)
async def test_failures_are_typed(
    pool: ThreadPoolExecutor, function: str, error_class: str, code: str, uncertain: bool
) -> None:
    """Whatever a function raises becomes a failure with its class."""
    failure = await ask(pool, function, timeout=0.1)

    assert isinstance(failure, Failure)
    assert (failure.error_class, failure.code, failure.uncertain) == (error_class, code, uncertain)


async def test_a_provider_may_say_when_to_come_back(pool: ThreadPoolExecutor) -> None:
    """Like Retry-After."""
    assert (await ask(pool, "limited")).retry_after == 3.0


def test_a_resource_is_made_once_for_all_threads(pool: ThreadPoolExecutor) -> None:
    """Two calls at once build one index."""
    resources, made = Resources(), []

    def make() -> object:
        time.sleep(0.02)
        made.append(1)
        return object()

    one, two = pool.map(lambda _: resources.get("index", make), range(2))

    assert one is two
    assert made == [1]


def test_a_resource_that_cannot_be_made_is_tried_again() -> None:
    """A passing failure must not be remembered for ever."""
    resources = Resources()
    with pytest.raises(ZeroDivisionError):
        resources.get("r", lambda: 1 / 0)

    assert resources.get("r", lambda: 2) == 2
