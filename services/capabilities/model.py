"""What a capability manifest says: the pydantic models of ``manifests/*.yaml``. Data only; nothing here calls anything.

Money is integer nano-USD (1 USD = 1,000,000,000), durations are seconds. Unknown keys are refused: a misspelt limit
must not pass for no limit.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

import jsonschema_rs
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from services.capabilities.template import expression, template, url_path

ErrorClass: TypeAlias = Literal[
    "transient", "rate_limited", "invalid_request", "auth", "quota", "content_refused", "outage", "unknown"
]
"""Why an attempt failed, by what may help: trying again (transient, rate_limited, outage), or something else."""

NAME: Final = r"^[a-z][a-z0-9_]{0,62}$"
MAX_RESPONSE_BYTES: Final = 4 * 1024 * 1024
"""A response above this is a broken provider, not an answer; results above the platform's value limit fail anyway."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _LookedUp(_Model):
    env: str = ""
    """Name of an environment variable; an empty variable counts as absent."""
    file: str = ""
    """Path of a file holding the text, relative to the data directory."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not any(self.model_dump().values()):
            raise ValueError(f"an empty reference; give one of {', '.join(type(self).model_fields)}")
        return self

    def resolve(self, environment: Mapping[str, str], data_dir: Path) -> str:
        """The text, or "" when it is nowhere."""
        if self.env and environment.get(self.env):
            return environment[self.env]
        if self.file:
            try:
                return (data_dir / self.file).read_text().strip()
            except OSError:
                return ""
        return ""

    def __str__(self) -> str:
        return " or ".join([f"${self.env}"] * bool(self.env) + [f"file {self.file}"] * bool(self.file))


class SecretReference(_LookedUp):
    """Where a secret is; a manifest never holds the secret itself."""


class Reference(_LookedUp):
    """A text that is looked up when it is needed: in the environment, else in a file, else the value given here."""

    value: str = ""

    def resolve(self, environment: Mapping[str, str], data_dir: Path) -> str:
        """The text, or "" when it is nowhere."""
        return super().resolve(environment, data_dir) or self.value


class Price(_Model):
    """What an attempt costs. A provider without a price is unpriced, which is not free."""

    id: str = Field(min_length=1)
    """Names the price list; frozen into every attempt's fact."""
    per_call_nano_usd: int = Field(default=0, ge=0)
    per_input_token_nano_usd: int = Field(default=0, ge=0)
    per_output_token_nano_usd: int = Field(default=0, ge=0)
    per_cpu_second_nano_usd: int = Field(default=0, ge=0)
    charge_failures: bool = False
    """Whether an attempt that failed costs its per-call price; measured usage is always charged."""


class Retry(_Model):
    """When and how often one provider is tried again. The wait before attempt n+1 is stamina's
    ``min(wait_max, wait_initial * 2 ** (n - 1) + random(0, wait_jitter))``."""

    max_attempts: int = Field(default=3, ge=1, le=20)
    """Attempts at one provider, the first one included."""
    wait_initial_seconds: float = Field(default=0.1, ge=0)
    wait_max_seconds: float = Field(default=5.0, ge=0)
    """Also how long a Retry-After may be before the next provider is asked instead."""
    wait_jitter_seconds: float = Field(default=0.2, ge=0)


class _Provider(_Model):
    name: str = Field(pattern=NAME)
    timeout_seconds: float = Field(default=30.0, gt=0)
    """For one attempt; what is left of the call's own time is the other bound."""
    concurrency: int = Field(default=64, ge=1)
    """Attempts that one executor has open at this provider."""
    price: Price | None = None
    config: dict[str, Any] = Field(default_factory=dict)
    """Handed to the provider as it is: a Python function finds it in its context, a template as ``config``."""

    def references(self) -> Sequence[Reference | SecretReference]:
        """What must be found before the provider can be asked."""
        return []

    def missing(self, environment: Mapping[str, str], data_dir: Path) -> str:
        """What it lacks to be asked, in words; "" when it is ready."""
        return ", ".join(str(each) for each in self.references() if not each.resolve(environment, data_dir))


class PythonProvider(_Provider):
    """A Python function ``(params, context) -> result``; a plain one runs in a thread, an async one on the loop."""

    kind: Literal["python"]
    function: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    """``package.module:function``; imported at the first attempt."""


class Auth(_Model):
    """How a request proves who sends it."""

    kind: Literal["bearer", "header", "query", "basic"]
    secret: SecretReference
    """For ``basic``: user and password with a colon between."""
    name: str = ""
    """The header's or the query parameter's name."""

    @model_validator(mode="after")
    def _named(self) -> Auth:
        if self.kind in ("header", "query") and not self.name:
            raise ValueError(f"auth kind {self.kind!r} needs the name of the {self.kind}")
        return self


class Request(_Model):
    """The request, as templates over ``params``, ``call`` (id, run_id, agent, attempt) and ``config``."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "POST"
    base_url: Reference
    path: str = ""
    query: dict[str, Any] = Field(default_factory=dict)
    headers: dict[str, str] = Field(default_factory=dict)
    body: Any = None

    @field_validator("path")
    @classmethod
    def _path_is_readable(cls, value: str) -> str:
        url_path(value)
        return value

    @field_validator("query", "headers", "body")
    @classmethod
    def _is_readable(cls, value: Any) -> Any:
        template(value)
        return value


class Response(_Model):
    """How the JSON of a successful response becomes the result: JMESPath expressions over it."""

    json_text: str = ""
    """Where the response holds, as text, the JSON that ``result`` is then taken from: structured outputs of models."""
    result: str = "@"
    model: str = ""
    input_tokens: str = ""
    output_tokens: str = ""
    max_bytes: int = Field(default=MAX_RESPONSE_BYTES, ge=1)

    @field_validator("json_text", "result", "model", "input_tokens", "output_tokens")
    @classmethod
    def _is_readable(cls, value: str) -> str:
        if value:
            expression(value)
        return value


class ErrorRule(_Model):
    """A response that fits is a failure of this class; the first rule that fits wins, built-in rules come last."""

    status: int | list[int] | Literal["2xx", "4xx", "5xx", "any"] = "any"
    body: str = ""
    """JMESPath over the response's JSON; fits when it gives something other than null, false or empty."""
    error_class: ErrorClass = Field(alias="class")
    message: str = ""
    """JMESPath of the provider's own words."""

    @field_validator("body", "message")
    @classmethod
    def _is_readable(cls, value: str) -> str:
        if value:
            expression(value)
        return value

    @model_validator(mode="after")
    def _leaves_something(self) -> ErrorRule:
        if self.status == "any" and not self.body:
            raise ValueError("fits every response; narrow it by status or body")
        return self


class HttpProvider(_Provider):
    """An HTTP endpoint."""

    kind: Literal["http"]
    request: Request
    auth: Auth | None = None
    response: Response = Response()
    errors: list[ErrorRule] = Field(default_factory=list)

    def references(self) -> Sequence[Reference | SecretReference]:
        """The endpoint and the secret."""
        return [self.request.base_url, *([self.auth.secret] if self.auth else [])]


Provider: TypeAlias = Annotated[PythonProvider | HttpProvider, Field(discriminator="kind")]


class Capability(_Model):
    """Something agents can ask for by name, never naming who provides it."""

    name: str = Field(pattern=NAME)
    description: str = Field(min_length=10, max_length=400)
    """A few dozen tokens: what it gives and when to use it; every agent that may call it reads this."""
    side_effects: Literal["read", "idempotent", "unsafe"]
    """``unsafe``: doing it twice is not the same as once, so an attempt of unknown outcome is never repeated."""
    params: dict[str, Any]
    """JSON Schema (2020-12) of an object."""
    result: dict[str, Any]
    timeout_seconds: float = Field(default=60.0, gt=0)
    """For all attempts together, when the caller names no time."""
    retry: Retry = Retry()
    providers: list[Provider] = Field(min_length=1)
    """In rank order."""
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
        if self.degraded_result is not None:
            wrong = next(jsonschema_rs.validator_for(self.result).iter_errors(self.degraded_result), None)
            if wrong is not None:
                raise ValueError(f"degraded_result does not fit the result schema: {wrong.message}")
        return self


def environment() -> Mapping[str, str]:
    """The process's environment; the one place where this package reads it."""
    return os.environ
