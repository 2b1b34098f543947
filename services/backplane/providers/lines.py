"""A program's line of JSON → an outcome. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, get_args

from jmespath.exceptions import JMESPathError

from backplane.manifests.model import ErrorClass
from backplane.manifests.template import ABSENT
from backplane.providers.body import TooDeep, parse
from backplane.recovery.outcome import Answer, AttemptOutcome, Failure, Usage, counted

CLASSES: Final[tuple[ErrorClass, ...]] = get_args(ErrorClass)
MESSAGE_LIMIT: Final = 500
"""Characters of a program's own words in a message."""
MALFORMED: Final = "malformed_answer"
"""Code of an answer after which it is not known where the next one begins."""
EXPECTED: Final = ("input_tokens", "output_tokens", "cpu_seconds", "images", "seconds", "bytes")
"""The counts that an answer should have of its use. A missing one is unknown, and unpriced where it has a price."""
DOUBTFUL: Final = frozenset({"transient", "unknown"})
"""Failures after which the effect may have happened: all others are refusals."""


def read_line(line: bytes, request_id: str, result: Callable[[Any], Any]) -> AttemptOutcome | None:
    """The outcome; None: a line about another request, such as a late answer to one that was given up."""
    try:
        said = parse(line)
    except TooDeep as error:
        return _malformed(str(error))
    if said is ABSENT:
        return _malformed("a line that is no JSON")
    if not isinstance(said, dict):
        return _malformed("a line that is no JSON object")
    if said.get("id") != request_id:
        return None
    reported = said.get("usage")
    used: dict[str, Any] = reported if isinstance(reported, dict) else {}
    if "error" in said:
        return _failure(said["error"], counted(used))
    if "result" not in said:
        return _malformed("neither a result nor an error")
    try:
        mapped = result(said["result"])
    except JMESPathError as error:
        return _malformed(f"a result that its manifest does not expect: {str(error).splitlines()[0]}")
    return Answer(result=mapped, usage=counted(used, EXPECTED), model=str(said.get("model") or ""))


def _failure(error: Any, usage: Usage) -> Failure:
    """Its words about its failure; an unlisted class counts as unknown."""
    details = error if isinstance(error, dict) else {"message": str(error)}
    error_class: ErrorClass = next((known for known in CLASSES if known == details.get("class")), "unknown")
    retry_after = details.get("retry_after")
    return Failure(
        error_class=error_class,
        code=str(details.get("code") or error_class)[:100],
        message=str(details.get("message") or "it gave no reason")[:MESSAGE_LIMIT],
        retry_after=float(retry_after) if isinstance(retry_after, int | float) and retry_after >= 0 else None,
        uncertain=error_class in DOUBTFUL,
        usage=usage,
    )


def _malformed(what: str) -> Failure:
    return Failure(
        error_class="unknown", code=MALFORMED, message=f"it answered with {what}"[:MESSAGE_LIMIT], uncertain=True
    )
