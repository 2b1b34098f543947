"""HTTP responses and httpx's errors → failures. Pure tables; rules of a manifest come before the built-in ones.

Of a response, ``uncertain`` says that it is no clear refusal: the effect may have happened all the same.
"""

from __future__ import annotations

import datetime as dt
import http
import socket
import ssl
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from typing import Any, Final, Literal

import httpx
from jmespath.exceptions import JMESPathError

from agents_sdk.proxies import ProxyUnusable
from backplane.manifests.egress import Refused
from backplane.manifests.model import ErrorClass, ErrorRule
from backplane.manifests.template import expression
from backplane.providers import said
from backplane.providers.body import Unreadable
from backplane.recovery.outcome import Failure

FIRST_FAILURE: Final = 400
"""The first status of those that are no success and no redirect."""
QUOTE_LIMIT: Final = 300
"""Characters of a provider's own words in a message: enough for a cause, too little for a page of HTML."""

CAUSES: Final = 10
"""Of an error, looked through: httpx wraps httpcore's, which wraps anyio's, which wraps the socket's."""

_BY_STATUS: Final[dict[int, ErrorClass]] = {
    401: "auth",
    402: "quota",
    403: "auth",
    407: "auth",
    408: "transient",
    409: "transient",
    425: "transient",
    429: "rate_limited",
    451: "content_refused",
    501: "invalid_request",
    502: "outage",
    503: "outage",
    504: "transient",
}
_UNCERTAIN_4XX: Final = frozenset({408, 409})
"""Refusals that may come after the effect: a timeout of the server's, a conflict with what the request itself did."""
_STANDARD_4XX: Final = frozenset(each.value for each in http.HTTPStatus if each // 100 == 4)
REFUSALS: Final = (_STANDARD_4XX | {307, 308}) - _UNCERTAIN_4XX
"""Statuses that say for certain that nothing was done: those of a standard, and redirects that want the same request
elsewhere. Not a server's or proxy's own: nginx's 499 may come after the effect. A 303 may follow an effect."""

_BY_ERROR: Final[tuple[tuple[type[Exception], ErrorClass, str], ...]] = (
    (httpx.ConnectTimeout, "outage", "connect_timeout"),
    (httpx.PoolTimeout, "transient", "no_free_connection"),
    (httpx.ReadTimeout, "transient", "read_timeout"),
    (httpx.WriteTimeout, "transient", "write_timeout"),
    (httpx.ProxyError, "outage", "proxy_failed"),
    (httpx.NetworkError, "transient", "connection_lost"),
    (httpx.RemoteProtocolError, "transient", "truncated_response"),
    (httpx.LocalProtocolError, "invalid_request", "unsendable_request"),
    (httpx.UnsupportedProtocol, "invalid_request", "unsupported_url"),
    (httpx.InvalidURL, "invalid_request", "invalid_url"),
    (httpx.DecodingError, "transient", "undecodable_response"),
    (httpx.TooManyRedirects, "unknown", "too_many_redirects"),
)
"""The first line whose class fits counts. Whether the effect may have happened depends on how far the attempt came, not
on the error."""


def of_exception(error: Exception, *, answered: bool) -> Failure:
    """The failure that any exception of an attempt stands for. ``answered``: the request had gone out, so what cannot
    be read is the response; else it is the request that cannot be made."""
    known = of_error(error)
    if known is not None:
        return known
    quoted = (str(error).splitlines() or [""])[0][:QUOTE_LIMIT]
    if isinstance(error, ProxyUnusable):
        quoted = f"{error.message}: {error.hint}"[:QUOTE_LIMIT]
        return Failure(error_class="unknown", code=error.code, message=quoted, own=True)
    if isinstance(error, Unreadable | Refused):
        return Failure(error_class="unknown", code=error.code, message=quoted)
    if isinstance(error, JMESPathError):
        if answered:
            message = f"the response is not as its manifest expects: {quoted}"
            return Failure(error_class="transient", code="malformed_response", message=message)
        message = f"no request can be made of this: {quoted}"
        return Failure(error_class="invalid_request", code="unfit_params", message=message)
    named = f"{type(error).__name__}: {quoted}"
    if answered:
        return Failure(error_class="unknown", code="broken_response", message=f"its response cannot be used: {named}")
    if isinstance(error, UnicodeError):
        message = "a header's value has characters that HTTP does not allow"
        return Failure(error_class="invalid_request", code="unsendable_request", message=message)
    return Failure(error_class="invalid_request", code="unsendable_request", message=f"no request can be made: {named}")


def of_error(error: Exception) -> Failure | None:
    """The failure that an error of httpx stands for; None when it is no error of httpx's."""
    if isinstance(error, httpx.ConnectError):
        return _unconnected(error)
    for kind, error_class, code in _BY_ERROR:
        if isinstance(error, kind):
            message = f"{code.replace('_', ' ')}: {error}" if str(error) else code.replace("_", " ")
            return Failure(error_class=error_class, code=code, message=message[:QUOTE_LIMIT])
    if isinstance(error, httpx.HTTPError):
        message = f"{type(error).__name__}: {error}"[:QUOTE_LIMIT]
        return Failure(error_class="unknown", code="http_error", message=message)
    return None


def _unconnected(error: httpx.ConnectError) -> Failure:
    """No request went out; which of the three it was tells an operator where to look."""
    causes: list[BaseException] = [error]
    while (further := causes[-1].__cause__ or causes[-1].__context__) is not None and len(causes) < CAUSES:
        causes.append(further)
    code = "connect_failed"
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        code = "name_not_resolved"
    elif any(isinstance(cause, ssl.SSLError) for cause in causes):
        code = "tls_failed"
    return Failure(error_class="outage", code=code, message=f"{code.replace('_', ' ')}: {error}"[:QUOTE_LIMIT])


def of_response(
    status: int,
    reason: str,
    retry_after: str | None,
    body: Any,
    rules: Sequence[ErrorRule],
    now: dt.datetime,
    *,
    error_bodies: bool = True,
    cut_off: Literal["fail", "keep"] = "fail",
) -> Failure | None:
    """The failure that a response stands for; None: it is a success. ``body`` is its JSON, or None. A success may say
    in its body that it is none: an error (``error_bodies``), or an answer that was cut off."""
    rule = next((rule for rule in rules if _fits(rule, status, body)), None)
    error_class = rule.error_class if rule else default_class(status)
    if error_class is None:
        return _of_body(status, body, retry_after, now, error_bodies=error_bodies, cut_off=cut_off)
    words = expression(rule.message)(body) if rule and rule.message else own_words(body)
    message = f"HTTP {status} {reason}".strip() + (f": {words}" if words else "")
    return Failure(
        error_class=error_class,
        code=f"http_{status}",
        message=message[:QUOTE_LIMIT],
        retry_after=parse_retry_after(retry_after, now),
        uncertain=status not in REFUSALS,
    )


def _of_body(
    status: int, body: Any, retry_after: str | None, now: dt.datetime, *, error_bodies: bool, cut_off: str
) -> Failure | None:
    """The failure that a body is whose status says success."""
    reported = said.error_of(body, default_class) if error_bodies else None
    if reported is not None:
        message = f"HTTP {status} with an error: {' '.join(filter(None, [reported.code, reported.words]))}"
        return Failure(
            error_class=reported.error_class,
            code="error_body",
            message=message[:QUOTE_LIMIT],
            retry_after=parse_retry_after(retry_after, now),
            uncertain=True,
        )
    limit = said.cut_off(body) if cut_off == "fail" else ""
    if not limit:
        return None
    message = f"its answer was cut off by its limit of length ({limit}): ask for less, or raise the limit"
    return Failure(error_class="invalid_request", code="cut_off", message=message, uncertain=True)


def default_class(status: int) -> ErrorClass | None:
    """The class of a status that no rule of the manifest fits; None for success."""
    if 200 <= status < 300:
        return None
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status >= 500:
        return "transient"
    return "invalid_request" if status >= 400 else "unknown"


def parse_retry_after(value: str | None, now: dt.datetime) -> float | None:
    """Seconds to wait by a Retry-After header (RFC 9110 §10.2.3: seconds or a date); None when absent or unreadable."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=dt.UTC)
    return max(0.0, (at - now).total_seconds())


def own_words(body: Any) -> str:
    """The provider's words about its failure, where the usual APIs put them."""
    for place in ("error.message", "error.detail", "detail.error", "message", "detail", "error"):
        found = expression(place)(body) if isinstance(body, dict) else None
        if isinstance(found, str) and found:
            return found
    return ""


def _fits(rule: ErrorRule, status: int, body: Any) -> bool:
    expected = rule.status
    if isinstance(expected, int):
        status_fits = status == expected
    elif isinstance(expected, list):
        status_fits = status in expected
    else:
        status_fits = expected == "any" or status // 100 == int(expected[0])
    return status_fits and (not rule.body or bool(expression(rule.body)(body)))
