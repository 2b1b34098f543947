"""Every kind of provider keeps the same promises to those who ask: real functions, programs and servers, one suite.

A new kind is a model in ``Provider``, a line in ``KINDS`` and a line in ``SPECS``; nothing else here changes.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import types
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, get_args

import pytest

from backplane.manifests.model import Capability, Provider
from backplane.manifests.registry import RegisteredCapability
from backplane.providers.fleet import Fleet
from backplane.providers.kinds import KINDS
from backplane.providers.python import ProviderContext
from backplane.recovery.outcome import Answer, AttemptOutcome, Failure, ProviderError
from tests.support.http_attempts import request
from tests.support.http_server import Asked, Reply, Server, serving

PROGRAMS: Final = Path(__file__).parents[1] / "support" / "programs"
MODULE: Final = "obedient_functions"
PATIENCE_S: Final = 60.0
SOON_S: Final = 0.5
SCHEMA: Final = Path(__file__).parents[2] / "schemas" / "manifest.schema.json"


async def obey(params: Mapping[str, Any], context: ProviderContext) -> dict[str, Any]:
    """Says it, fails, or never ends."""
    if params["do"] == "fail":
        raise ProviderError("invalid_request", params["say"])
    if params["do"] == "sleep":
        await asyncio.sleep(600)
    return {"said": params["say"]}


def served(asked: Asked) -> Reply:
    """The same as a web API."""
    do, say = asked.json["do"], asked.json["say"]
    if do == "fail":
        return Reply({"error": {"message": say}}, status=422)
    return Reply({"said": say}, hold=do == "sleep")


SPECS: Final[dict[str, dict[str, Any]]] = {
    "python": {"function": f"{MODULE}:obey"},
    "subprocess": {
        "command": [sys.executable, str(PROGRAMS / "lines.py")],
        "result": "{said: asked.params.say}",
    },
    "mcp": {
        "command": [sys.executable, str(PROGRAMS / "mcp_server.py")],
        "tool": "obey",
        "arguments": {"do": "${params.do}", "say": "${params.say}"},
    },
    "http": {
        "request": {"method": "POST", "path": "/obey", "body": {"do": "${params.do}", "say": "${params.say}"}},
        "response": {"result": "@"},
    },
}
"""Kind → a provider of it that obeys ``params.do``: ``echo``, ``fail`` or ``sleep``."""


@pytest.fixture(params=sorted(SPECS))
def kind(request: pytest.FixtureRequest) -> str:
    """One kind after the other."""
    found: str = request.param
    return found


@pytest.fixture
def server() -> Iterator[Server]:
    """The web API."""
    with serving(served) as running:
        yield running


@pytest.fixture
def contract(kind: str, server: Server, monkeypatch: pytest.MonkeyPatch) -> RegisteredCapability:
    """A capability with the one provider."""
    module = types.ModuleType(MODULE)
    module.__dict__["obey"] = obey
    monkeypatch.setitem(sys.modules, MODULE, module)
    spec = json.loads(json.dumps(SPECS[kind]))
    if kind == "http":
        spec["request"]["base_url"] = {"value": server.url}
    capability = Capability.model_validate(
        {
            "name": "obey",
            "description": "Does what it is told to do, by any kind of provider.",
            "side_effects": "read",
            "params": {"type": "object"},
            "result": {"type": "object"},
            "providers": [{"name": "p", "kind": kind, "concurrency": 3, **spec}],
        }
    )
    return RegisteredCapability(capability, "test.yaml", 1)


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    """What executors ask providers through."""
    made = Fleet(tmp_path, {"PATH": os.environ["PATH"]})
    yield made
    await made.close()


async def ask(
    fleet: Fleet, contract: RegisteredCapability, do: str, say: str = "", seconds: float = PATIENCE_S
) -> AttemptOutcome:
    """One attempt."""
    params = {"do": do, "say": say}
    if do == "fail" and contract.capability.providers[0].kind == "subprocess":
        params["error"] = {"class": "invalid_request", "code": "told_to", "message": say}  # type: ignore[assignment]
    return await fleet.attempt(contract, contract.capability.providers[0], request(params, timeout=seconds))


async def test_it_answers(fleet: Fleet, contract: RegisteredCapability) -> None:
    """With the result alone, and it can be asked at all."""
    assert fleet.ranking(contract).ready == ("p",)
    assert fleet.ranking(contract).skipped == ()

    outcome = await ask(fleet, contract, "echo", "hello")

    assert isinstance(outcome, Answer), outcome
    assert outcome.result == {"said": "hello"}


async def test_a_failure_is_an_outcome_of_a_class_and_the_next_attempt_answers(
    fleet: Fleet, contract: RegisteredCapability
) -> None:
    """Nothing is raised; recovery reads the class, people read the provider's own words."""
    failed = await ask(fleet, contract, "fail", "the moon is full")
    after = await ask(fleet, contract, "echo", "well again")

    assert isinstance(failed, Failure)
    assert failed.error_class in ("invalid_request", "unknown")
    assert failed.code
    assert "the moon is full" in failed.message
    assert isinstance(after, Answer), after


async def test_an_attempt_whose_time_is_over_is_a_timeout_of_doubtful_effect(
    fleet: Fleet, contract: RegisteredCapability
) -> None:
    """It may be retried where that is safe, and its slot is free again."""
    await ask(fleet, contract, "echo", "warm")  # a server that is on its way would be late for another reason
    for number in range(4):  # one more than there are slots
        late = await ask(fleet, contract, "sleep", seconds=SOON_S)
        assert isinstance(late, Failure)
        assert (late.error_class, late.code) == ("transient", "timeout")
        # later ones may have waited for a server that is started again, and were never asked
        assert late.uncertain or number

    after = await ask(fleet, contract, "echo", "well again")
    assert isinstance(after, Answer), after


async def test_an_attempt_can_be_cancelled(fleet: Fleet, contract: RegisteredCapability) -> None:
    """That is raised and nothing else, and the next attempt answers."""
    await ask(fleet, contract, "echo", "warm")
    task = asyncio.create_task(ask(fleet, contract, "sleep"))
    done, _ = await asyncio.wait({task}, timeout=SOON_S)
    assert not done
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    after = await ask(fleet, contract, "echo", "well again")
    assert isinstance(after, Answer), after


async def test_attempts_side_by_side_get_their_own_answers(fleet: Fleet, contract: RegisteredCapability) -> None:
    """More of them than slots."""
    outcomes = await asyncio.gather(*(ask(fleet, contract, "echo", str(number)) for number in range(9)))

    assert [isinstance(each, Answer) and each.result for each in outcomes] == [{"said": str(n)} for n in range(9)]


async def test_one_that_cannot_tell_of_an_effect_says_so(fleet: Fleet, contract: RegisteredCapability) -> None:
    """Its manifest has no ``reconcile``: the call stays of unknown outcome, and nothing is raised."""
    provider = contract.capability.providers[0]
    told = await fleet.reconcile(contract, provider, request({}))

    assert not provider.reconcilable()
    assert told.verdict == "unknown"


async def test_closing_twice_does_no_harm(fleet: Fleet, contract: RegisteredCapability) -> None:
    """Also of one that was asked."""
    await ask(fleet, contract, "echo")
    await fleet.close()
    await fleet.close()


def test_the_tables_of_kinds_are_one() -> None:
    """Model, adapter, schema and this suite have the same kinds, and each adapter is in the file of its kind."""
    union = get_args(get_args(Provider)[0])
    models = {get_args(each.model_fields["kind"].annotation)[0] for each in union}
    assert models == set(KINDS) == set(SPECS)
    for name, make in KINDS.items():
        assert make.__module__.removeprefix("backplane.providers.").split(".")[0] == name
    schema = SCHEMA.read_text()
    assert all(f'"{name}"' in schema for name in KINDS)
