"""The plan for one call: its own wishes, over the declarations of its capability. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec
from jmespath.exceptions import JMESPathError

from agents_sdk.core.facts import CallEvent
from agents_sdk.errors import BackplaneError, InvalidCommand
from agents_sdk.recovery import Fallback, RecoveryConfig, Retry, read_config
from backplane.manifests.model import Provider
from backplane.manifests.registry import Misfit, RegisteredCapability, Registry, UnknownCapability
from backplane.manifests.template import Rendered, TemplateError, template
from backplane.recovery.decide import Policy, Route
from backplane.recovery.ranking import Ranking

Ranked: TypeAlias = Callable[[RegisteredCapability], Ranking]
"""Which of a capability's providers can be asked now, by rank."""


class Unservable(BackplaneError):
    """A call that no provider need be asked for: the caller has to mend it."""

    code = "invalid_request"

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.why = code
        """The error_code of the failed call."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a route leads: a provider, what it is asked, and how its result becomes that of the call."""

    route: Route
    contract: RegisteredCapability
    provider: Provider | None
    """None: the route is closed for good."""
    params: Mapping[str, Any]
    result: Rendered | None = None


def params_of(fact: CallEvent, contract: RegisteredCapability) -> dict[str, Any]:
    """The call's params, with the schema's defaults. Raises Unservable."""
    try:
        given = msgspec.json.decode(fact.params) if fact.params else {}
    except msgspec.DecodeError as error:
        raise Unservable(f"params: not JSON: {error}", "invalid_params") from error
    misfit = contract.check_params(given)
    if misfit is not None:
        raise Unservable(str(misfit), "invalid_params")
    return contract.with_defaults(given)


def config_of(fact: CallEvent, contract: RegisteredCapability) -> RecoveryConfig:
    """The call's wishes for recovery. Raises Unservable."""
    try:
        config = read_config(fact.config)
    except InvalidCommand as error:
        raise Unservable(error.message, "invalid_config") from error
    if config.degraded_result is not None:
        misfit = contract.check_result(config.degraded_result)
        if misfit is not None:
            where = f"config.degraded_{misfit}"
            raise Unservable(f"{where}; it has to be a result of {fact.capability}", "invalid_config")
    return config


def degraded_result(contract: RegisteredCapability, config: RecoveryConfig) -> Any:
    """The substitute when all else fails; None: there is none."""
    asked = "degraded_result" in config.model_fields_set
    return config.degraded_result if asked else contract.capability.degraded_result


def policy_of(contract: RegisteredCapability, config: RecoveryConfig, timeout_ms: int) -> Policy:
    """How far recovery goes; ``timeout_ms`` is the caller's, 0 for the capability's own."""
    own = config.timeout_seconds or contract.capability.timeout_seconds
    return Policy(
        deadline=timeout_ms / 1000 if timeout_ms else own, degradable=degraded_result(contract, config) is not None
    )


def targets_of(
    contract: RegisteredCapability,
    params: Mapping[str, Any],
    config: RecoveryConfig,
    ranked: Ranked,
    registry: Registry,
) -> list[Target]:
    """All routes of the call in the order in which they are asked. First come its providers by rank, or as the call
    names them after the first, then those of the fallback capabilities."""
    fallback = contract.capability.fallback if config.fallback is None else config.fallback
    targets = _providers(contract, params, config, ranked(contract), named=[f.provider for f in fallback if f.provider])
    for each in fallback:
        if each.capability:
            targets += _of_fallback(each, contract, params, config, ranked, registry)
    return targets


def _providers(
    contract: RegisteredCapability,
    params: Mapping[str, Any],
    config: RecoveryConfig,
    ranking: Ranking,
    named: Sequence[str] = (),
    result: Rendered | None = None,
) -> list[Target]:
    capability = contract.capability
    by_name = {provider.name: provider for provider in capability.providers}
    skipped = dict(ranking.skipped)
    order = [*ranking.ready, *skipped]
    if named:
        order = [*order[:1], *(name for name in named if name not in order[:1])]
    targets = []
    for name in order:
        provider = by_name.get(name)
        if provider is None:
            targets.append(_dead_end(capability.name, name, contract, "the capability has no provider of this name"))
            continue
        route = Route(
            capability=capability.name,
            provider=name,
            retry=capability.retry.under(provider.retry).under(config.retry),
            unsafe=capability.side_effects == "unsafe",
            reconcilable=provider.reconcilable(),
            closed=f"it {skipped[name]}" if name in skipped else "",
        )
        targets.append(Target(route, contract, provider, params, result))
    return targets


def _dead_end(capability: str, provider: str, contract: RegisteredCapability, why: str) -> Target:
    return Target(Route(capability=capability, provider=provider, retry=Retry(), closed=why), contract, None, {})


def _of_fallback(
    fallback: Fallback,
    contract: RegisteredCapability,
    params: Mapping[str, Any],
    config: RecoveryConfig,
    ranked: Ranked,
    registry: Registry,
) -> list[Target]:
    """The routes of another capability; a mapping that does not fit it closes them, and the report says why."""
    try:
        other = registry.get(fallback.capability)
        if registry.switch(fallback.capability).state == "disabled":
            return [_dead_end(fallback.capability, "", contract, "the capability is disabled")]
        result = None if fallback.result is None else template(fallback.result)
        mapped = params if fallback.params is None else template(fallback.params)({"params": params})
        misfit = other.check_params(mapped)
        if misfit is not None:
            raise TemplateError(f"its params mapping breaks its schema: {misfit}")
    except (UnknownCapability, TemplateError, JMESPathError) as error:
        return [_dead_end(fallback.capability, "", contract, str(error))]
    return _providers(other, other.with_defaults(mapped), config, ranked(other), result=result)


def mapped_result(target: Target, result: Any, main: RegisteredCapability) -> tuple[Any, Misfit | None]:
    """The result of the target's provider as a result of the call, and where it is none."""
    misfit = target.contract.check_result(result)
    if misfit is not None or target.contract is main:
        return result, misfit
    own = result if target.result is None else target.result({"result": result})
    return own, main.check_result(own)
