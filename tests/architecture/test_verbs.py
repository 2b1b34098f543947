"""What an agent can do, a client can do, and the other way round. The waiting face has what the asynchronous one has.

A verb that one side lacks stands below with the reason. A reason that is no longer needed fails too.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import Any, Final

import pytest

from agents_sdk import AsyncBackplane, AsyncRun, Backplane, Child, Context, Run
from agents_sdk import blocking as sync
from agents_sdk.comms import AsyncComms
from agents_sdk.run_artifacts import RunArtifacts
from agents_sdk.state import State
from agents_sdk.verbs import RunVerbs

SAME: Final = {
    "complete_run": "complete",
    "fail_run": "fail",
    "cancel_run": "cancel",
    "run_id": "id",
}
"""``ctx`` is not the run, so its verbs about the run's end name it; ``run`` is, so its verbs do not."""
ONLY_AGENTS: Final = {
    "agent": "the name that is handling the delivery; a client's name was given to ``connect``",
    "named": "names the steps of a handler that runs again; a client's commands run once",
    **dict.fromkeys(
        ("step", "step_with", "model", "sleep", "now", "uuid", "random"),
        "is the same when a handler runs again; a client runs once, and has Python's own",
    ),
    "gather": "keeps the order of a handler's commands when it runs again; a client uses asyncio.gather",
}
ONLY_CLIENTS: Final = {
    "connect": "an agent is connected by its runner",
    "open": "an agent is connected by its runner",
    "close": "an agent is connected by its runner",
    "run": "an agent speaks about the run whose message it handles",
    "resume_run": "a person decides to go on from a run that has ended",
    "wait": "the end of a run cannot come while a message of it is handled",
    "recipients": "of the start; a handler did not start its run",
    "scope": "internal: the sender of commands",
    "transport": "internal: the connection",
    "comms": "deprecated",
}
MORE_PARAMETERS: Final = {
    "execute": (
        {"retry_failed", "name"},
        "a handler runs again, may ask for its failed calls again, and may name a call; a client does not",
    ),
    "execute_with_recovery": ({"retry_failed", "name"}, "as execute"),
}
INSTANCE: Final = {"state", "artifacts", "recipients"}
"""Attributes that ``__init__`` sets."""


def names(*classes: type) -> set[str]:
    """The public names of these classes."""
    found = {name for each in classes for name in dir(each) if not name.startswith("_")}
    return found | (
        INSTANCE - {"recipients"} if RunVerbs in {base for each in classes for base in each.__mro__} else set()
    )


def parameters(method: Any) -> dict[str, inspect.Parameter]:
    """Name → parameter, without the object itself."""
    return {name: each for name, each in inspect.signature(method).parameters.items() if name != "self"}


def test_agents_and_clients_have_the_same_verbs() -> None:
    """Both surfaces, side by side: what one lacks is listed with a reason, and nothing else is."""
    agents = {SAME.get(name, name) for name in names(Context)}
    clients = names(AsyncRun, AsyncBackplane) | {"recipients"}

    assert agents - clients == set(ONLY_AGENTS)
    assert clients - agents == set(ONLY_CLIENTS)


@pytest.mark.parametrize("name", sorted(names(Context) - set(ONLY_AGENTS) - {"run_id", "state", "artifacts", "memory"}))
def test_a_verb_takes_the_same_on_both_sides(name: str) -> None:
    """Names, order and defaults of parameters are equal, so what was learnt in a handler is true in a script."""
    of_agent = parameters(getattr(Context, name))
    of_client = parameters(getattr(AsyncRun, SAME.get(name, name)))
    more, _reason = MORE_PARAMETERS.get(name, (set(), ""))

    assert set(of_agent) - set(of_client) == more
    same = [(each.name, each.kind, each.default) for each in of_agent.values() if each.name not in more]
    assert same == [(each.name, each.kind, each.default) for each in of_client.values()]


@pytest.mark.parametrize(
    ("waiting", "asynchronous", "without"),
    [
        (Run, AsyncRun, set()),
        (Backplane, AsyncBackplane, {"open", "scope", "transport"}),
        (sync.State, State, set()),
        (sync.RunArtifacts, RunArtifacts, set()),
        (sync.Child, Child, {"id"}),
        (sync.Comms, AsyncComms, set()),
    ],
)
def test_the_waiting_face_has_every_verb(waiting: type, asynchronous: type, without: set[str]) -> None:
    """A verb that is added to a run or a client is there for scripts as well, with the same parameters."""
    expected = names(asynchronous) - without
    assert expected <= names(waiting) | INSTANCE
    for name in sorted(expected):
        method = getattr(asynchronous, name, None)
        if inspect.isfunction(method):
            assert parameters(getattr(waiting, name)) == parameters(method), name


class _Run:
    """Has two verbs, which do nothing."""

    async def publish(self, *given: Any, **named: Any) -> None:
        """Nothing."""

    async def execute(self, *given: Any, **named: Any) -> None:
        """Nothing."""


class _Loop:
    """Makes nothing: a coroutine is closed."""

    def wait(self, call: Any) -> None:
        call().close()


def test_the_form_of_before_warns_at_the_line_of_the_caller() -> None:
    """Code that was written for ``comms`` and ``run=`` goes on, and is told what to write instead, where it stands."""
    client = AsyncBackplane.connect()
    client.run = lambda run_id: _Run()  # type: ignore[method-assign,assignment,return-value]
    blocking = Backplane(client, _Loop())  # type: ignore[arg-type]
    calls: list[Callable[[], Any]] = [
        lambda: client.comms.publish("a.b", run="r").close(),
        lambda: client.execute("echo", run="r").close(),
        lambda: blocking.comms.publish("a.b", run="r"),
        lambda: blocking.execute("echo", run="r"),
    ]
    for call in calls:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            call()
        assert [(each.category, each.filename) for each in told] == [(DeprecationWarning, __file__)]
        assert "`run." in str(told[0].message)
