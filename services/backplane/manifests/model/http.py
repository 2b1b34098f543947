"""The provider that is an HTTP endpoint: requests and responses as templates, errors as rules.

An attempt has these steps, in this order and only as far as they are declared. A ``lookup`` of what the request needs
to know, the ``upload`` of a file that it refers to, the ``request``, further ``pages`` of a list. Then the ``poll`` of
work that takes time, the ``artifact`` that came of it, and the mapping of all that to the result. One deadline is over
all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

from pydantic import Field, field_validator, model_validator

from backplane.manifests.model.auth import Auth
from backplane.manifests.model.pages import Pages
from backplane.manifests.model.part import ErrorClass, Part
from backplane.manifests.model.provider import AnyProvider
from backplane.manifests.model.reference import Reference, SecretReference
from backplane.manifests.template import expression, readable, required, template, url_path

MAX_RESPONSE_BYTES: Final = 4 * 1024 * 1024
"""A response above this is a broken provider, not an answer; results above the platform's value limit fail anyway."""
MAX_ARTIFACT_BYTES: Final = 64 * 1024 * 1024
"""A minute of video in high definition; held in memory while it is hashed."""


class Ask(Part):
    """One request, as templates over ``params``, ``call`` (id, run_id, agent, attempt), ``config`` and earlier steps of
    the attempt. These are ``lookup``, ``uploaded`` and ``created`` (the response to the main request)."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "POST"
    path: str = ""
    query: dict[str, Any] = Field(default_factory=dict)
    headers: dict[str, str] = Field(default_factory=dict)
    body: Any = None
    encoding: Literal["json", "form", "multipart"] = "json"
    """How the body is written; for a form it is a mapping of one level."""

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

    @model_validator(mode="after")
    def _fits_its_encoding(self) -> Ask:
        if self.encoding != "json" and not isinstance(self.body, dict):
            raise ValueError(f"the body of a {self.encoding} request is a mapping of its fields")
        return self


class Request(Ask):
    """The main request, and where all requests of the provider go."""

    base_url: Reference


class Lookup(Part):
    """A request made before the main one, which changes nothing: what it brings is ``lookup`` in the templates."""

    request: Ask
    absent: list[int] = Field(default_factory=lambda: [404])
    """Statuses that say there is none; ``lookup`` is null then."""


class Upload(Part):
    """A file sent before the main request; the response to it is ``uploaded`` in the templates, null without a file."""

    request: Ask
    """Its body is the file."""
    file: str
    """JMESPath over the params, of the reference to an artifact; null: there is none to send."""

    _is_readable = field_validator("file")(required)


class Poll(Part):
    """How work that the main request began is waited for. The result is then taken from the last response to this."""

    request: Ask
    done: str
    """JMESPath over the response; it is done when this gives something other than null, false or empty. The rules for
    errors say what has failed."""
    interval_seconds: float = Field(default=2.0, gt=0)
    """Between two looks; a Retry-After goes before it."""

    _is_readable = field_validator("done")(required)


class ArtifactRule(Part):
    """Where the response has a file. It becomes an artifact: kept by its content, named in the result."""

    url: str = ""
    """JMESPath of the address it is fetched from, without the provider's secret: over https, or from the provider's
    own origin."""
    base64: str = ""
    """JMESPath of the file itself, as base64."""
    mime: str = ""
    """Its media type; "": as the download's content type says."""
    max_bytes: int = Field(default=MAX_ARTIFACT_BYTES, ge=1)

    @model_validator(mode="after")
    def _is_one_place(self) -> ArtifactRule:
        if bool(self.url) == bool(self.base64):
            raise ValueError("an artifact is either at a url or given as base64")
        if self.base64 and not self.mime:
            raise ValueError("an artifact given as base64 needs its mime type")
        expression(self.url or self.base64)
        return self


class UsageRule(Part):
    """Use of an attempt that is not tokens: templates over ``params``, ``config``, ``response`` and ``result``, each
    giving a number."""

    images: Any = None
    seconds: Any = None
    bytes: Any = None

    @field_validator("images", "seconds", "bytes")
    @classmethod
    def _is_readable(cls, value: Any) -> Any:
        template(value)
        return value


TOKENS: Final = (
    "input_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "input_audio_tokens",
    "output_tokens",
    "reasoning_tokens",
    "output_audio_tokens",
)
"""Where a response counts them: fields of ``Response``."""


class Response(Part):
    """How the JSON of a successful response becomes the result: JMESPath expressions over it.

    ``result`` is over the product of the steps before it: of ``json_text`` the JSON in it; of ``pages`` ``{items,
    first, last, more}``. With an ``artifact`` it is over ``{artifact, width, height, response, params}``, sizes only of
    an image."""

    json_text: str = ""
    """Where the response holds, as text, the JSON that ``result`` is then taken from: structured outputs of models."""
    artifact: ArtifactRule | None = None
    result: str = "@"
    model: str = ""
    input_tokens: str = ""
    """All that was read, also from and into a cache: add up where a vendor counts them apart."""
    cached_tokens: str = ""
    """Those of the input tokens that were read from the provider's cache."""
    cache_write_tokens: str = ""
    """Those of the input tokens that were written to the provider's cache."""
    cache_write_1h_tokens: str = ""
    """Those of the tokens written to the cache that are kept for an hour."""
    input_audio_tokens: str = ""
    """Those of the input tokens that are sound."""
    output_tokens: str = ""
    """All that was written, its reasoning among them: add up where a vendor counts it apart."""
    reasoning_tokens: str = ""
    """Those of the output tokens that were thought and not shown."""
    output_audio_tokens: str = ""
    """Those of the output tokens that are sound."""
    tier: str = ""
    """How it was worked on, where that has a price of its own: "batch", "flex", "priority"."""
    usage: UsageRule = UsageRule()
    error_bodies: bool = True
    """Whether a body that says that it is an error is one, though its status is a success; the forms are those that
    vendors document. Rules for errors come first."""
    cut_off: Literal["fail", "keep"] = "fail"
    """Treatment of an answer that the provider says it cut off at its limit of length. It fails, and is not asked for
    again unchanged; or it is kept as it is."""
    max_bytes: int = Field(default=MAX_RESPONSE_BYTES, ge=1)
    """Of all responses of an attempt together, artifacts aside; on the wire and after decompression."""

    _is_readable = field_validator("json_text", "result", "model", "tier", *TOKENS)(readable)


class ErrorRule(Part):
    """A response that fits is a failure of this class; the first rule that fits wins, built-in rules come last."""

    status: int | list[int] | Literal["2xx", "4xx", "5xx", "any"] = "any"
    body: str = ""
    """JMESPath over the response's JSON; fits when it gives something other than null, false or empty."""
    error_class: ErrorClass = Field(alias="class")
    message: str = ""
    """JMESPath of the provider's own words."""

    _is_readable = field_validator("body", "message")(readable)

    @model_validator(mode="after")
    def _leaves_something(self) -> ErrorRule:
        if self.status == "any" and not self.body:
            raise ValueError("fits every response; narrow it by status or body")
        return self


class Reconcile(Part):
    """How the provider is asked whether a call had its effect, where we do not know. Its answer is read by JMESPath
    over ``{"status": 200, "body": …}``; a redirect, a 5xx and what is no JSON leave it open."""

    request: Request
    happened: str
    """true: it did; false: it did not; anything else: nobody knows."""
    result: str = ""
    """The result, over the same; without it a call that happened fails as ``result_lost``."""

    _is_readable = field_validator("happened", "result")(readable)


class HttpProvider(AnyProvider):
    """An HTTP endpoint."""

    kind: Literal["http"]
    accepts: str = ""
    """JMESPath over the params. Where it gives null, false or empty, the provider cannot do the work. Then the next one
    is asked, without a request to this one."""
    lookup: Lookup | None = None
    upload: Upload | None = None
    request: Request
    auth: Auth | None = None
    private: bool = False
    """Whether the names in its addresses stand for private ones: within a company's network, say. An address that is
    one as it is written needs no word; all of them need the operator's (``egress.allow``)."""
    pages: Pages | None = None
    poll: Poll | None = None
    response: Response = Response()
    reconcile: Reconcile | None = None
    errors: list[ErrorRule] = Field(default_factory=list)

    _is_readable = field_validator("accepts")(readable)

    @model_validator(mode="after")
    def _is_one_way(self) -> HttpProvider:
        if self.pages and self.poll:
            raise ValueError("a provider is read page by page or polled, not both")
        return self

    def reconcilable(self) -> bool:
        """By its request."""
        return self.reconcile is not None

    def address(self) -> Reference | None:
        """Of its main request."""
        return self.request.base_url

    def prompt(self) -> tuple[Any, Any] | None:
        """Of its main request, where there is no other."""
        if self.pages or self.lookup or self.upload:
            return None
        return self.request.body, self.request.query

    def references(self) -> Sequence[Reference | SecretReference]:
        """The endpoint and the secrets."""
        return [self.request.base_url, *(self.auth.references() if self.auth else [])]
