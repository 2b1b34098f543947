"""What is to be done for one call: what it asks for, over what its capability declares. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from agents_sdk.core.facts import CallEvent
from agents_sdk.errors import BackplaneError, InvalidCommand
from agents_sdk.recovery import RecoveryConfig, read_config
from services.capabilities.decide import Policy
from services.capabilities.registry import Contract


class Unservable(BackplaneError):
    """A call that no provider need be asked for: the caller has to mend it."""

    code = "invalid_request"

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.why = code
        """The error_code of the failed call."""


def params_of(fact: CallEvent, contract: Contract) -> dict[str, Any]:
    """The call's params, with the schema's defaults. Raises Unservable."""
    try:
        given = msgspec.json.decode(fact.params) if fact.params else {}
    except msgspec.DecodeError as error:
        raise Unservable(f"params: not JSON: {error}", "invalid_params") from error
    misfit = contract.check_params(given)
    if misfit is not None:
        raise Unservable(str(misfit), "invalid_params")
    return contract.with_defaults(given)


def config_of(fact: CallEvent, contract: Contract) -> RecoveryConfig:
    """What the call asks of recovery. Raises Unservable."""
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


def degraded_result(contract: Contract, config: RecoveryConfig) -> Any:
    """The substitute when all else fails; None: there is none."""
    asked = "degraded_result" in config.model_fields_set
    return config.degraded_result if asked else contract.capability.degraded_result


def policy_of(contract: Contract, config: RecoveryConfig, timeout_ms: int) -> Policy:
    """How far recovery goes; ``timeout_ms`` is the caller's, 0 for the capability's own."""
    capability = contract.capability
    return Policy(
        retry=capability.retry.under(config.retry),
        deadline=timeout_ms / 1000 if timeout_ms else config.timeout_seconds or capability.timeout_seconds,
        unsafe=capability.side_effects == "unsafe",
        degradable=degraded_result(contract, config) is not None,
    )
