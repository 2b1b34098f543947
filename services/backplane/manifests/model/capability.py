"""A capability: its contract, its defaults, its providers."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import jsonschema_rs
from pydantic import Field, field_validator, model_validator

from agents_sdk.recovery import FallbackEntry, Rank, Retry
from backplane.manifests.model.http import HttpProvider
from backplane.manifests.model.part import NAME, Part
from backplane.manifests.model.provider import McpProvider, PythonProvider, SubprocessProvider
from backplane.manifests.template import template

Provider: TypeAlias = Annotated[
    PythonProvider | HttpProvider | SubprocessProvider | McpProvider, Field(discriminator="kind")
]


class Cache(Part):
    """How long the result of a call may be given to equal calls: same params, same manifest, same providers. A hit is
    recorded, and costs nothing."""

    ttl_seconds: float = Field(gt=0)


class Capability(Part):
    """Something agents can ask for by name, never naming who provides it."""

    name: str = Field(pattern=NAME)
    description: str = Field(min_length=10, max_length=400)
    """A few dozen tokens: what it gives and when to use it; every agent that may call it reads this."""
    tags: list[str] = Field(default_factory=list, max_length=20)
    """Words by which it is found besides those of its name and description."""
    side_effects: Literal["read", "idempotent", "unsafe"]
    """``unsafe``: doing it twice is not the same as once, so an attempt of unknown outcome is never repeated."""
    params: dict[str, Any]
    """JSON Schema (2020-12) of an object."""
    result: dict[str, Any]
    timeout_seconds: float = Field(default=60.0, gt=0)
    """For all attempts together, when the caller names no time."""
    retry: Retry = Retry()
    providers: list[Provider] = Field(min_length=1)
    """In declared order."""
    rank: Rank = "declared"
    """In which order they are asked, unless the call says otherwise."""
    example: dict[str, Any] | None = None
    """Params of a call that any provider can serve: what ``backplane capabilities test`` asks."""
    fallback: list[FallbackEntry] = Field(default_factory=list)
    """Other capabilities that may help when every provider failed; see ``agents_sdk.recovery.Fallback``."""
    cache: Cache | None = None
    """None: each call asks a provider."""
    degraded_result: Any = None
    """Given, marked as degraded, when every provider failed; null: then the call fails."""

    @field_validator("params", "result")
    @classmethod
    def _is_a_schema(cls, value: dict[str, Any]) -> dict[str, Any]:
        try:
            jsonschema_rs.validator_for(value)
        except (jsonschema_rs.ValidationError, ValueError) as error:
            raise ValueError(f"not a JSON Schema: {str(error).splitlines()[0]}") from error
        return value

    @model_validator(mode="after")
    def _is_consistent(self) -> Capability:
        names = [provider.name for provider in self.providers]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"provider {twice[0]!r} is declared twice; give each its own name")
        if self.params.get("type") != "object":
            raise ValueError("params is not the schema of an object; begin it with 'type: object'")
        if self.cache is not None and self.side_effects != "read":
            raise ValueError("only results of reads may be cached; remove 'cache', or say 'side_effects: read'")
        for each in self.fallback:
            template(each.params)
            template(each.result)
        if self.example is not None:
            wrong = next(jsonschema_rs.validator_for(self.params).iter_errors(self.example), None)
            if wrong is not None:
                raise ValueError(f"example does not fit the params schema: {wrong.message}")
        if self.degraded_result is not None:
            wrong = next(jsonschema_rs.validator_for(self.result).iter_errors(self.degraded_result), None)
            if wrong is not None:
                raise ValueError(f"degraded_result does not fit the result schema: {wrong.message}")
        return self
