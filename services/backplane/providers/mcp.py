"""Asks a provider that is a tool of an MCP server.

The package ``mcp`` takes a second to import; only who has such a provider does.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import msgspec
from jmespath.exceptions import JMESPathError

from agents_sdk.proxies import ProxyUnusable
from backplane.manifests.egress import Refused
from backplane.manifests.model import ErrorClass, McpProvider
from backplane.manifests.template import ABSENT, expression, template
from backplane.providers import classify, mcp_result
from backplane.providers.attempts import Attempts, Surroundings
from backplane.providers.body import Unreadable
from backplane.providers.mcp_sessions import SEEN, WORDS_S, SeenResponses, Server, Servers, Session, leaves
from backplane.recovery.outcome import Answer, AttemptOutcome, AttemptRequest, Failure, counted

if TYPE_CHECKING:
    from mcp.types import CallToolResult

__all__ = ["McpAttempts", "Servers"]

MESSAGE_LIMIT: Final = 500
"""Characters of a tool's own words in a message."""
UNCOUNTED: Final = ("input_tokens", "output_tokens", "images", "seconds", "bytes", "cpu_seconds")
"""Facts that a result of MCP does not have."""

_BY_CODE: Final[dict[int, tuple[ErrorClass, str, bool]]] = {
    -32700: ("transient", "parse_error", True),
    -32600: ("transient", "session_ended", True),
    -32601: ("invalid_request", "no_such_method", False),
    -32602: ("invalid_request", "invalid_params", False),
    -32603: ("transient", "server_error", True),
    -32000: ("transient", "connection_closed", True),
    -32001: ("transient", "timeout", True),
}
"""JSON-RPC's and MCP's codes → class, code, and whether the effect may have happened. The client itself says -32700 and
-32600 of responses that it cannot read."""
REFUSED: Final = frozenset({-32601, -32602})
"""Said of the call by a server that is well."""
WELL: Final = REFUSED | {-32603}
"""After other codes the session is given up."""


class McpAttempts(Attempts):
    """Makes attempts at one tool."""

    def __init__(self, spec: McpProvider, server: Server) -> None:
        self._spec = spec
        self._server = server
        self._arguments = template(spec.arguments)
        self._result = expression(spec.result)

    async def attempt(self, request: AttemptRequest) -> AttemptOutcome:
        """One call of the tool, one outcome; raises only CancelledError."""
        try:
            arguments = self._arguments_of(request)
        except Exception as error:  # noqa: BLE001  # whatever it is, nothing was asked
            arguments = classify.of_exception(error, answered=False)
        if isinstance(arguments, Failure):
            return arguments
        await asyncio.to_thread(importlib.import_module, "mcp")  # on the loop it would hold up all other attempts
        session = self._server.enter()
        under = _Under(session)
        try:
            outcome = await self._within(under, arguments, request.timeout_seconds)
        except BaseException:
            under.broken = True
            raise
        finally:
            self._server.leave(session, broken=under.broken)
        if isinstance(outcome, Failure):
            message = session.redaction.text(outcome.message)[:MESSAGE_LIMIT]
            return replace(outcome, message=message, uncertain=under.asked and outcome.uncertain)
        return outcome

    async def close(self) -> None:
        """The session is the server's; others may use it."""

    async def _within(self, under: _Under, arguments: dict[str, Any], seconds: float) -> AttemptOutcome:
        try:
            async with asyncio.timeout(seconds):
                return await self._call(under, arguments)
        except TimeoutError:
            under.broken = True
            if under.asked:  # a program that hangs in a tool would go on with it, and with nothing else
                await under.session.running.kill()
            message = f"no answer within {seconds:g} s"
            return Failure(error_class="transient", code="timeout", message=message, uncertain=True)

    async def _call(self, under: _Under, arguments: dict[str, Any]) -> AttemptOutcome:
        from mcp import MCPError

        seen = SeenResponses()
        SEEN.set(seen)
        try:
            client = await under.session.client()
        except asyncio.CancelledError:
            if _cancelled():
                raise
            under.broken = True
            return _not_connected(ConnectionError("the session was given up"), "")
        except BaseException as error:  # noqa: BLE001  # programs, networks and servers fail to come up in many ways
            under.broken = True
            return _not_connected(error, await under.session.running.last_line(WORDS_S))
        under.asked = True
        try:
            result = await client.call_tool(self._spec.tool, arguments)
        except MCPError as error:
            under.broken = error.code not in WELL or seen.status >= classify.FIRST_FAILURE
            return _refused(error, seen.status)
        except Exception as error:  # noqa: BLE001  # what the session is built on breaks in many ways
            under.broken = True
            return _broken(error)
        try:
            return self._read(result, under.session)
        except JMESPathError as error:
            message = f"its result is not as its manifest expects: {str(error).splitlines()[0]}"
            return Failure(error_class="transient", code="malformed_response", message=message, uncertain=True)
        except Unreadable as error:
            return Failure(error_class="unknown", code=error.code, message=str(error), uncertain=True)
        except Exception as error:  # noqa: BLE001  # one attempt, one outcome: nothing else may leave it
            message = f"its result cannot be used: {type(error).__name__}: {error}"
            return Failure(error_class="unknown", code="broken_response", message=message, uncertain=True)

    def _arguments_of(self, request: AttemptRequest) -> dict[str, Any] | Failure:
        """The arguments of the tool, or why there are none."""
        call = {"id": request.call_id, "run_id": request.run_id, "agent": request.agent, "attempt": request.attempt}
        scope = {"params": request.params, "call": call, "config": self._spec.config}
        try:
            arguments = self._arguments(scope)
        except JMESPathError as error:
            arguments = str(error).splitlines()[0]
        if arguments is ABSENT:
            return {}
        if not isinstance(arguments, Mapping):
            message = f"no arguments can be made of this: {arguments!r}"
            return Failure(error_class="invalid_request", code="unfit_params", message=message)
        return dict(arguments)

    def _read(self, result: CallToolResult, session: Session) -> AttemptOutcome:
        content = [block.model_dump(mode="json", by_alias=True, exclude_none=True) for block in result.content]
        if result.is_error:
            return self._failed("\n".join(block["text"] for block in content if block["type"] == "text"))
        size = len(msgspec.json.encode([result.structured_content, content]))
        if size > self._spec.max_bytes:
            message = f"its result is above {self._spec.max_bytes} bytes"
            return Failure(error_class="unknown", code="response_too_large", message=message, uncertain=True)
        document = mcp_result.scope(
            session.redaction.tree(result.structured_content),
            [session.redaction.tree(block) for block in content],
            session.redaction.raw,
        )
        return Answer(result=self._result(document), usage=counted({}, UNCOUNTED))

    def _failed(self, text: str) -> Failure:
        rule = next((rule for rule in self._spec.errors if rule.text.lower() in text.lower()), None)
        error_class: ErrorClass = rule.error_class if rule else "unknown"
        message = text or "it failed and gave no reason"
        return Failure(
            error_class=error_class,
            code="tool_error",
            message=message,
            uncertain=error_class in ("transient", "unknown"),
        )


def make(spec: McpProvider, around: Surroundings) -> McpAttempts:
    """A tool of an MCP server, ready to be asked."""
    return McpAttempts(spec, around.servers.of(spec))


class _Under:
    """An attempt under way."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.asked = False
        """The tool may have been called."""
        self.broken = False
        """The session is of no more use."""


def _cancelled() -> bool:
    """Whether it is we who are to stop, and not the session."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _refused(error: Any, status: int) -> Failure:
    """Errors of the protocol: the tool did not run, or it is not known whether. A server that was restarted does not
    know the session, and says so in one of many ways. A status that refuses means that nothing was done."""
    if status >= classify.FIRST_FAILURE and error.code not in REFUSED:
        uncertain = status not in classify.REFUSALS
        by_status = classify.default_class(status) or "unknown"
        error_class: ErrorClass = "transient" if by_status == "invalid_request" else by_status
        code = "session_ended" if by_status == "invalid_request" else f"http_{status}"
        message = f"{code}: HTTP {status}: {error.message}"
        return Failure(error_class=error_class, code=code, message=message, uncertain=uncertain)
    error_class, code, uncertain = _BY_CODE.get(error.code, ("unknown", f"mcp_{error.code}", True))
    return Failure(error_class=error_class, code=code, message=f"{code}: {error.message}", uncertain=uncertain)


def _not_connected(error: BaseException, words: str) -> Failure:
    details = "; ".join([f"{type(leaf).__name__}: {leaf}" for leaf in leaves(error)] + [words] * bool(words))
    refused = next((leaf for leaf in leaves(error) if isinstance(leaf, Refused | ProxyUnusable)), None)
    if refused is not None:
        return classify.of_exception(refused, answered=False)
    status = next((code for leaf in leaves(error) if (code := _status(leaf))), None)
    error_class: ErrorClass = "auth" if status in (401, 403) else "outage"
    return Failure(error_class=error_class, code="not_connected", message=f"no session with the MCP server: {details}")


def _broken(error: BaseException) -> Failure:
    details = "; ".join(f"{type(leaf).__name__}: {leaf}" for leaf in leaves(error))
    return Failure(error_class="transient", code="session_broken", message=details, uncertain=True)


def _status(error: BaseException) -> int | None:
    response = getattr(error, "response", None)
    return getattr(response, "status_code", None)
