"""What one attempt is given and what it gives back. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from services.capabilities.model import ErrorClass

Verdict: TypeAlias = Literal["happened", "not_happened", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What an attempt used up."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    """Those of the input tokens that the provider read from its cache."""
    cpu_seconds: float = 0.0
    images: int = 0
    seconds: float = 0.0
    """Of what was made: video, sound."""
    bytes: int = 0
    """Stored or sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRequest:
    """One attempt at one provider."""

    call_id: str
    """Also the idempotency key: the same in every attempt at this call."""
    run_id: str
    agent: str
    attempt: int
    params: Mapping[str, Any]
    timeout_seconds: float


@dataclass(frozen=True, slots=True)
class Blob:
    """A file within a result. The log has no room for it: it is stored as an artifact, and the result that agents see
    has the artifact's descriptor in its place: ``{"mime": …, "sha256": …, "size": …, "uri": "artifact:<sha256>"}``."""

    content: bytes
    mime: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The provider answered. A Python function may return one of these instead of its bare result."""

    result: Any
    """JSON, in which any value may be a Blob."""
    usage: Usage = field(default_factory=Usage)
    model: str = ""
    prompt_version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """The provider did not give a usable answer."""

    error_class: ErrorClass
    code: str
    """A stable word for the cause."""
    message: str
    retry_after: float | None = None
    """Seconds that the provider asks to be left alone."""
    uncertain: bool = False
    """The effect may have happened all the same: the request was sent and no refusal came back."""
    usage: Usage = field(default_factory=Usage)
    model: str = ""


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What a provider says about an attempt whose outcome we do not know."""

    verdict: Verdict
    answer: Answer = field(default_factory=lambda: Answer(result=None))
    """What the attempt gave, where it happened."""
    message: str = ""


AttemptOutcome: TypeAlias = Answer | Failure


class ProviderError(Exception):
    """Raised by a Python provider to say what kind of failure this is; any other exception counts as ``unknown``."""

    def __init__(
        self, error_class: ErrorClass, message: str, *, code: str = "", retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.error_class = error_class
        self.code = code or error_class
        self.retry_after = retry_after
