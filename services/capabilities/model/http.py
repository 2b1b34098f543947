"""The provider that is an HTTP endpoint: request and response as templates, errors as rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

from pydantic import Field, field_validator, model_validator

from services.capabilities.model.part import ErrorClass, Part
from services.capabilities.model.provider import AnyProvider
from services.capabilities.model.reference import Reference, SecretReference
from services.capabilities.template import expression, template, url_path

MAX_RESPONSE_BYTES: Final = 4 * 1024 * 1024
"""A response above this is a broken provider, not an answer; results above the platform's value limit fail anyway."""


class Auth(Part):
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


class Request(Part):
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


class Response(Part):
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


class ErrorRule(Part):
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


class HttpProvider(AnyProvider):
    """An HTTP endpoint."""

    kind: Literal["http"]
    request: Request
    auth: Auth | None = None
    response: Response = Response()
    errors: list[ErrorRule] = Field(default_factory=list)

    def references(self) -> Sequence[Reference | SecretReference]:
        """The endpoint and the secret."""
        return [self.request.base_url, *([self.auth.secret] if self.auth else [])]
