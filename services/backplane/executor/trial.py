"""One attempt at each provider of a capability, outside any run, shown step by step: for ``capabilities test``."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import uuid_utils

from agents_sdk.core import ids
from agents_sdk.core.ids import CallId, RunId
from backplane.manifests.egress import Policy
from backplane.manifests.model import Provider, environment
from backplane.manifests.registry import RegisteredCapability
from backplane.providers.fleet import Fleet
from backplane.providers.reach import Reach, endpoint_of
from backplane.recovery.outcome import Answer, AttemptRequest
from backplane.recovery.pricing import charge

SHOWN_CHARS = 300
Reporter = Callable[[str, str, str], None]
"""(provider, step, outcome)."""


class NoParams(Exception):
    """The manifest has no example, and its params have no defaults for all that is required."""


def first_params(contract: RegisteredCapability) -> dict[str, Any]:
    """The manifest's example; nothing at all where that is enough. Raises NoParams."""
    example = contract.capability.example
    if example is not None:
        return example
    if contract.check_params({}) is None:
        return {}
    raise NoParams(f"the manifest of {contract.capability.name!r} has no example")


def unfit(contract: RegisteredCapability, params: Mapping[str, Any]) -> str:
    """Where the params break their schema; "" when they do not."""
    misfit = contract.check_params(params)
    return str(misfit) if misfit else ""


class Trial:
    """The attempts at one capability."""

    def __init__(
        self, contract: RegisteredCapability, params: Mapping[str, Any], data_dir: Path, policy: Policy
    ) -> None:
        self._policy = policy
        self._contract = contract
        self._params = contract.with_defaults(params)
        self._data_dir = data_dir

    async def run(self, providers: Sequence[str], report: Reporter | None) -> list[dict[str, Any]]:
        """Asks these providers in turn; for each its steps, and whether it gave a result that keeps the contract."""
        fleet = Fleet(self._data_dir, environment(), policy=self._policy)
        try:
            chosen = [each for each in self._contract.capability.providers if each.name in providers]
            return [await self._try(fleet, each, report) for each in chosen]
        finally:
            await fleet.close()

    async def _try(self, fleet: Fleet, provider: Provider, report: Reporter | None) -> dict[str, Any]:
        steps: dict[str, str] = {}

        def note(step: str, outcome: str) -> None:
            steps[step] = outcome
            if report is not None:
                report(provider.name, step, outcome)

        return {"provider": provider.name, "ok": await self._steps(fleet, provider, note), "steps": steps}

    async def _steps(self, fleet: Fleet, provider: Provider, note: Callable[[str, str], None]) -> bool:
        lack = fleet.lack(provider)
        note("secrets and endpoint", f"lacks {lack}" if lack else "found")
        if lack:
            return False
        endpoint = endpoint_of(provider, environment(), self._data_dir)
        if endpoint is not None:
            reach = Reach()
            await reach.look([endpoint])
            note("connection", reach.down.get(endpoint, f"{endpoint} answers"))
            if endpoint in reach.down:
                return False
        began = time.monotonic()
        outcome = await fleet.attempt(self._contract, provider, self._request(provider))
        took = f"{(time.monotonic() - began) * 1000:.1f} ms"
        usage = outcome.usage
        spent = f"{usage.input_tokens} tokens in, {usage.output_tokens} out" if usage.input_tokens else ""
        charged = charge(provider.price, outcome)
        cost = f"{charged.nano_usd / 1e9:.9f} USD" if charged.price_id else "unpriced"
        if not isinstance(outcome, Answer):
            note("attempt", f"{outcome.error_class} ({outcome.code}) after {took}, {cost}: {outcome.message}")
            return False
        note("attempt", ", ".join(filter(None, [f"answered in {took}", outcome.model, spent, cost])))
        misfit = self._contract.check_result(outcome.result)
        note("result", f"breaks the contract: {misfit}" if misfit else _shown(outcome.result))
        return misfit is None

    def _request(self, provider: Provider) -> AttemptRequest:
        return AttemptRequest(
            call_id=CallId(f"test-{uuid_utils.uuid7()}"),
            run_id=RunId(""),
            agent="cli",
            attempt=1,
            params=self._params,
            timeout_seconds=min(provider.timeout_seconds, self._contract.capability.timeout_seconds),
        )


def _shown(result: Any) -> str:
    text = ids.canonical(result)
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}… ({len(text)} characters)"
