"""Input and output of one attempt. Values only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, Literal, TypeAlias

from agents_sdk.core.ids import CallId, RunId
from backplane.manifests.model import ErrorClass

Verdict: TypeAlias = Literal["happened", "not_happened", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """The use of an attempt."""

    input_tokens: int = 0
    """All that the model read, those of the cache and of sound among them."""
    output_tokens: int = 0
    """All that the model wrote, its reasoning and sound among them."""
    cached_tokens: int = 0
    """Those of the input tokens that the provider read from its cache."""
    cache_write_tokens: int = 0
    """Those of the input tokens that the provider wrote to its cache."""
    cache_write_1h_tokens: int = 0
    """Those of the tokens written to the cache that it keeps for an hour."""
    reasoning_tokens: int = 0
    """Those of the output tokens that nobody is shown."""
    input_audio_tokens: int = 0
    output_audio_tokens: int = 0
    tier: str = ""
    """How the provider worked on it, where that has a price of its own: "batch", "flex", "priority"; "" for the
    usual."""
    cpu_seconds: float = 0.0
    images: int = 0
    seconds: float = 0.0
    """Of what was made: video, sound."""
    bytes: int = 0
    """Stored or sent."""
    uncounted: frozenset[str] = frozenset()
    """Names of the fields above that the provider should have given and did not, or not as a possible number. A price
    that needs one of them is not known."""


MEASURES: Final = frozenset({"cpu_seconds", "seconds"})
COUNTS: Final = frozenset(each.name for each in fields(Usage)) - MEASURES - {"tier", "uncounted"}
MOST: Final = {"bytes": 1 << 50, "images": 1_000_000, "cpu_seconds": 1e7, "seconds": 1e7}
"""A figure above this is no measure of one attempt."""
MOST_TOKENS: Final = 100_000_000
"""Ten times the longest context there is."""
USUAL: Final = frozenset({"standard", "default", "auto", "on_demand", "none"})
"""Names of the usual tier."""
_WITHIN: Final = (
    ("cached_tokens", "input_tokens"),
    ("cache_write_tokens", "input_tokens"),
    ("cache_write_1h_tokens", "cache_write_tokens"),
    ("input_audio_tokens", "input_tokens"),
    ("reasoning_tokens", "output_tokens"),
    ("output_audio_tokens", "output_tokens"),
)
"""(part, whole)."""


def counted(reported: Mapping[str, Any], expected: Iterable[str] = ()) -> Usage:
    """The use that a provider reports, by field. A count that is none (a text, a fraction, a number below nothing or
    beyond what can be) is uncounted. So are ``expected`` ones that are missing, and parts that are more than their
    whole."""
    uncounted = {name for name in expected if reported.get(name) is None}
    found: dict[str, Any] = {}
    for name, value in reported.items():
        if value is None or name not in COUNTS | MEASURES:
            continue
        number = isinstance(value, int | float if name in MEASURES else int) and not isinstance(value, bool)
        if number and 0 <= value <= MOST.get(name, MOST_TOKENS):  # NaN is not
            found[name] = value
        else:
            uncounted.add(name)
    for part, whole in _WITHIN:
        if found.get(part, 0) > found.get(whole, 0):
            uncounted |= {part, whole}
    if found.get("cached_tokens", 0) + found.get("cache_write_tokens", 0) > found.get("input_tokens", 0):
        uncounted.add("input_tokens")
    tier = reported.get("tier")
    named = tier.strip().lower()[:40] if isinstance(tier, str) else ""
    return Usage(**found, tier="" if named in USUAL else named, uncounted=frozenset(uncounted))


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRequest:
    """One attempt at one provider."""

    call_id: CallId
    """Also the idempotency key: the same in every attempt at this call."""
    run_id: RunId
    agent: str
    attempt: int
    params: Mapping[str, Any]
    timeout_seconds: float


@dataclass(frozen=True, slots=True)
class Blob:
    """A file within a result. The log has no room for it. It is stored as an artifact, and the result that agents see
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
    own: bool = False
    """The message is ours; else it is a provider's."""
    retry_after: float | None = None
    """Seconds that the provider asks to be left alone."""
    uncertain: bool = False
    """The effect may have happened all the same: the request was sent and no refusal came back."""
    usage: Usage = field(default_factory=Usage)
    model: str = ""


@dataclass(frozen=True, slots=True)
class Reconciled:
    """A provider's answer about an attempt whose outcome we do not know."""

    verdict: Verdict
    answer: Answer = field(default_factory=lambda: Answer(result=None))
    """The result of the attempt, where it happened."""
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
