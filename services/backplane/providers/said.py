"""The truth in a body with a status of success: that it is an error, or that it was cut off. Pure.

APIs, gateways and proxies answer 200 and put the error into the body. The forms are those that vendors document; a
manifest's own rules come first, and it may switch this off (``response.error_bodies``, ``response.cut_off``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from backplane.manifests.model import ErrorClass

COMPANIONS: Final = frozenset(
    {"error", "errors", "error_code", "error_description", "error_message", "errorcode", "errormessage", "errcode"}
    | {"errmsg", "code", "message", "msg", "detail", "details", "status", "status_code", "statuscode", "success", "ok"}
    | {"type", "request_id", "requestid", "trace_id", "id", "data", "result", "object", "timestamp", "path", "title"}
    | {"instance", "help", "docs", "documentation_url", "warnings", "response_metadata", "description", "jsonrpc"}
    | {"__type", "base_resp"}
)
"""Names that stand beside an error. A body with others as well, such as the output of a program beside its error, is a
result."""
FAILED: Final = frozenset({"error", "failed", "failure", "fail"})
_FINE: Final = frozenset({"", "0", "200", "ok", "success", "none"})
"""Codes of success."""
_WORDS: Final[tuple[tuple[str, ErrorClass], ...]] = (
    ("insufficient_quota", "quota"),
    ("billing", "quota"),
    ("credit", "quota"),
    ("payment", "quota"),
    ("balance", "quota"),
    ("rate_limit", "rate_limited"),
    ("ratelimit", "rate_limited"),
    ("resource_exhausted", "rate_limited"),
    ("too_many_requests", "rate_limited"),
    ("toomanyrequests", "rate_limited"),
    ("throttl", "rate_limited"),
    ("slow_down", "rate_limited"),
    ("quota", "quota"),
    ("overloaded", "outage"),
    ("unavailable", "outage"),
    ("bad_gateway", "outage"),
    ("content_filter", "content_refused"),
    ("content_policy", "content_refused"),
    ("moderation", "content_refused"),
    ("safety", "content_refused"),
    ("auth", "auth"),
    ("permission", "auth"),
    ("forbidden", "auth"),
    ("api_key", "auth"),
    ("apikey", "auth"),
    ("access_denied", "auth"),
    ("accessdenied", "auth"),
    ("invalid", "invalid_request"),
    ("bad_request", "invalid_request"),
    ("not_found", "invalid_request"),
    ("notfound", "invalid_request"),
    ("validation", "invalid_request"),
    ("unsupported", "invalid_request"),
    ("context_length", "invalid_request"),
    ("failed_precondition", "invalid_request"),
    ("out_of_range", "invalid_request"),
    ("timeout", "transient"),
    ("deadline_exceeded", "transient"),
    ("server_error", "transient"),
    ("api_error", "transient"),
    ("internal", "transient"),
    ("aborted", "transient"),
)
"""A part of a vendor's code or type → class; the first that is in it counts."""
CUT_OFF: Final = frozenset(
    {"length", "max_tokens", "max_output_tokens", "model_length", "model_context_window_exceeded", "max_length"}
)
"""Reasons for the end of an answer that say that it is not its end."""
_REASONS: Final = ("finish_reason", "finishReason", "stop_reason", "stopReason", "done_reason", "completionReason")
_ANSWERS: Final = ("choices", "candidates", "generations", "completions", "results", "outputs")
"""Where the answers of a model are listed."""


class ReportedError(NamedTuple):
    """An error, as the body has it."""

    error_class: ErrorClass
    code: str
    words: str


def error_of(body: Any, class_of_status: Callable[[int], ErrorClass | None]) -> ReportedError | None:
    """The error that the body is; None: it is a result. ``class_of_status``: of an HTTP status that stands in it."""
    if isinstance(body, list):
        return error_of(body[0], class_of_status) if body and isinstance(body[0], dict) and _alone(body[0]) else None
    if not isinstance(body, dict):
        return None
    found = next((each for each in _errors(body) if each is not None), None)
    if found is None:
        return None
    code, words = _code(found, body), _own(found) or _own(body)
    status = next((int(each) for each in code.split() if each.isdecimal() and 400 <= int(each) <= 599), None)
    error_class: ErrorClass | None = class_of_status(status) if status is not None else None
    if error_class is None or error_class in ("transient", "invalid_request"):
        named = any(letter.isalpha() for letter in code)
        text = f"{code} {'' if named else words}".lower().replace("-", "_").replace(" ", "_")
        error_class = next((each for part, each in _WORDS if part in text), error_class)
    return ReportedError(error_class or "unknown", code, words)


def cut_off(body: Any) -> str:
    """How the body says that its answer was cut off by a limit of length, in its own words; "" where it does not."""
    for answer in _answers(body):
        for name in _REASONS:
            reason = answer.get(name)
            reason = reason.get("reason") if isinstance(reason, dict) else reason
            if isinstance(reason, str) and reason.lower() in CUT_OFF:
                return f"{name} {reason!r}"
        details = answer.get("incomplete_details")
        reason = details.get("reason") if isinstance(details, dict) else None
        if answer.get("status") == "incomplete" and (reason is None or str(reason).lower() in CUT_OFF):
            return f"status 'incomplete', {reason!r}" if reason else "status 'incomplete'"
    return ""


def _errors(body: Mapping[str, Any]) -> Iterator[Any]:
    """Candidates for the error in it, the surest first; None for what is none."""
    error, alone = body.get("error"), _alone(body)
    yield error if isinstance(error, dict) and _means_something(error) else None
    yield body if body.get("type") == "error" and alone else None
    denied = body.get("ok") is False or body.get("success") is False
    failed = str(body.get("status", "")).lower() in FAILED
    yield error if isinstance(error, str) and error and (alone or denied or failed) else None
    yield body if denied or (failed and alone) else None
    errors = body.get("errors")
    listed = errors[0] if isinstance(errors, list) and errors else errors if isinstance(errors, dict) else None
    yield listed if listed and alone and body.get("data") is None and body.get("result") is None else None
    for answer in _answers(body):
        inner = answer.get("error")
        yield inner if isinstance(inner, dict) and _means_something(inner) else None
        yield answer if answer.get("finish_reason") == "error" else None
    base = body.get("base_resp")
    yield base if isinstance(base, dict) and base.get("status_code") not in (0, None) else None
    yield body if str(body.get("__type", "")).endswith(("Exception", "Error")) else None
    coded = [body[name] for name in ("code", "errcode", "error_code", "errorCode", "status_code") if name in body]
    is_error = alone and "data" not in body and "result" not in body and _own(body)
    yield body if is_error and coded and str(coded[0]).lower() not in _FINE else None


def _answers(body: Any) -> Iterator[Mapping[str, Any]]:
    """The body and the answers of a model that it lists, wherever vendors put them."""
    if isinstance(body, list):
        for each in body[:100]:
            yield from _answers(each)
        return
    if not isinstance(body, dict):
        return
    yield body
    for name in ("details", "response", "output", "message"):
        if isinstance(inner := body.get(name), dict):
            yield from _answers(inner) if name in ("response", "output") else [inner]
    for name in _ANSWERS:
        listed = body.get(name)
        for answer in listed[:100] if isinstance(listed, list) else []:
            if isinstance(answer, dict):
                yield answer


def _alone(body: Mapping[str, Any]) -> bool:
    return all(str(name).lower() in COMPANIONS or value in (None, [], {}) for name, value in body.items())


def _means_something(error: Mapping[str, Any]) -> bool:
    code = error.get("code", error.get("type", error.get("status")))
    return bool(_own(error)) or (code is not None and str(code).lower() not in _FINE)


def _code(error: Any, body: Mapping[str, Any]) -> str:
    """Its codes and types, as one text."""
    names = ("http_status", "status_code", "statusCode", "code", "error_code", "errcode", "errorCode", "status", "type")
    places = [error, body] if error is not body else [body]
    found = [
        str(place[name])
        for place in places
        if isinstance(place, dict)
        for name in (*names, "__type")
        if isinstance(place.get(name), str | int) and not isinstance(place.get(name), bool)
    ]
    if isinstance(error, str) and " " not in error:
        found.append(error)
    return " ".join(dict.fromkeys(each for each in found if each.lower() not in (*_FINE, *FAILED)))[:200]


def _own(error: Any) -> str:
    """Its words."""
    if isinstance(error, str):
        return error
    if not isinstance(error, dict):
        return ""
    names = ("message", "msg", "error_description", "description", "detail", "status_msg", "errmsg", "error_message")
    for name in (*names, "error", "errorMessage", "title", "Message"):
        if isinstance(error.get(name), str) and error[name]:
            return str(error[name])
    inner = error.get("errors")
    return _own(inner[0]) if isinstance(inner, list) and inner else ""
