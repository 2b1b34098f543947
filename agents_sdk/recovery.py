"""How far a call is helped when an attempt at it fails: recovery as data, the same words in a call and in a manifest.

Data only: what is tried next is decided by ``backplane.recovery.decide``. A call's words go over those of the
provider's manifest, and these over those of the capability, field by field.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from agents_sdk.errors import InvalidCommand
from agents_sdk.values import path_of

MAX_ATTEMPTS = 20
"""At one provider: beyond it a deadline says better how long to go on."""

MAX_FALLBACKS = 20

Backoff: TypeAlias = Literal["exponential", "linear", "constant"]
Rank: TypeAlias = Literal["declared", "cheapest", "fastest", "healthiest"]
"""In which order providers are asked: as declared, or by what their last attempts cost, took or came to."""


class _Part(BaseModel):
    """Unknown keys are refused: a misspelt limit must not pass for no limit."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Retry(_Part):
    """When and how often one provider is tried again, if its failure can pass. With full jitter. The wait after the
    n-th failure is a random part of ``min(wait_max, wait_initial * f)``, f being ``2 ** (n - 1)``, n or 1 by
    ``backoff``. See Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015."""

    max_attempts: int = Field(default=3, ge=1, le=MAX_ATTEMPTS)
    """Attempts at one provider, the first one included."""
    backoff: Backoff = "exponential"
    wait_initial_seconds: float = Field(default=0.2, ge=0)
    wait_max_seconds: float = Field(default=5.0, ge=0)
    """Also how long a Retry-After may be before the next provider is asked instead."""

    def under(self, over: Retry | None) -> Retry:
        """This, with the fields that ``over`` was given in place of its own."""
        if over is None:
            return self
        return self.model_copy(update={name: getattr(over, name) for name in over.model_fields_set})


class Fallback(_Part):
    """The next capability when those before did not help. It is ``"NAME"`` for one that takes the same params and gives
    the same result, or a mapping where it does not."""

    capability: str = ""
    """Asked after all providers; its own fallbacks are not followed. The agent must be allowed to call it where the
    call names it."""
    provider: str = ""
    """A provider of the capability itself. Where some are named, these and no others follow the first by rank."""
    params: dict[str, Any] | None = None
    """The params for the capability: a template over ``params``, such as ``{"q": "${params.query}"}``."""
    result: Any = None
    """Its result for the caller: a template over ``result``, such as ``{"hits": "${result.documents}"}``."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Fallback:
        if bool(self.capability) == bool(self.provider):
            raise ValueError("a fallback names a capability or a provider")
        if self.provider and (self.params is not None or self.result is not None):
            raise ValueError("a provider of the same capability needs no mapping")
        return self


def _spelled_out(entry: Any) -> Any:
    return {"capability": entry} if isinstance(entry, str) else entry


FallbackEntry: TypeAlias = Annotated[Fallback, BeforeValidator(_spelled_out)]


class RecoveryConfig(_Part):
    """Wishes of one call; a field that is not given is the capability's own."""

    retry: Retry | None = None
    fallback: list[FallbackEntry] | None = Field(default=None, max_length=MAX_FALLBACKS)
    """In this order; an empty list: no other capability is asked."""
    degraded_result: Any = None
    """Given, marked as degraded, when every provider failed; null: no substitute, the call fails."""
    timeout_seconds: float | None = Field(default=None, gt=0)
    """For all attempts at all providers together."""
    rank: Rank | None = None
    """In which order providers are asked."""


NOTHING = RecoveryConfig()
"""Wishes of a call without a config."""


def checked_config(config: RecoveryConfig | dict[str, Any] | None) -> RecoveryConfig:
    """The config as its model. Raises InvalidCommand; ``fields["field"]`` is where it is wrong, like
    ``config.retry.max_attempts``."""
    if config is None or isinstance(config, RecoveryConfig):
        return config or NOTHING
    try:
        return RecoveryConfig.model_validate(config)
    except ValidationError as error:
        raise _invalid(error) from error


def read_config(text: str) -> RecoveryConfig:
    """The config that a call carries. Raises InvalidCommand, as ``checked_config``."""
    if not text:
        return NOTHING
    try:
        return RecoveryConfig.model_validate_json(text)
    except ValidationError as error:
        raise _invalid(error) from error


def _invalid(error: ValidationError) -> InvalidCommand:
    first = error.errors(include_url=False)[0]
    field = path_of(("config", *first["loc"]))
    known = sorted(RecoveryConfig.model_fields)
    if first["type"] == "extra_forbidden":
        hint = f"a config has {', '.join(known)}" if len(first["loc"]) == 1 else "mend its spelling"
        return InvalidCommand(f"{field} is no such field", hint=hint, field=field)
    given = first.get("input")
    shown = f", not {given!r}" if isinstance(given, str | int | float) else ""
    return InvalidCommand(f"{field}: {first['msg']}{shown}", hint="see agents_sdk.RecoveryConfig", field=field)
