"""Asks a provider that is a tool of an MCP server. The session is kept and shared by all tools of the server.

A session lives in a task of its own, since what opens one must also close it. One that has ended, by whatever, is
opened anew by the next attempt. The package ``mcp`` takes a second to import; only who has such a provider does.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

import msgspec
from jmespath.exceptions import JMESPathError

from services.capabilities.model import ErrorClass, McpProvider
from services.capabilities.outcome import Answer, AttemptOutcome, AttemptRequest, Failure
from services.capabilities.providers.redaction import Redaction
from services.capabilities.providers.tail import Tail
from services.capabilities.providers.variables import variables
from services.capabilities.template import ABSENT, expression, template

if TYPE_CHECKING:
    from mcp import Client
    from mcp.types import CallToolResult

MESSAGE_LIMIT: Final = 500
"""Characters of a tool's own words in a message."""
CLOSING_S: Final = 4.0
"""For a session to end: ``mcp`` itself gives a program two seconds to, and two more before it kills it."""
WORDS_S: Final = 0.2
"""For the last of what a program says to arrive once it has ended."""

_BY_CODE: Final[dict[int, tuple[ErrorClass, str, bool]]] = {
    -32700: ("invalid_request", "parse_error", False),
    -32600: ("invalid_request", "session_ended", False),
    -32601: ("invalid_request", "no_such_method", False),
    -32602: ("invalid_request", "invalid_params", False),
    -32603: ("transient", "server_error", True),
    -32000: ("transient", "connection_closed", True),
    -32001: ("transient", "timeout", True),
}
"""JSON-RPC's and MCP's codes → class, code, and whether the effect may have happened."""
SESSION_IS_OVER: Final = frozenset({-32600, -32000})
"""After these the next attempt opens a new session; -32600 is what the client makes of a server that forgot ours."""


class Server:
    """One MCP server and the session with it."""

    def __init__(self, spec: McpProvider, environment: Mapping[str, str], data_dir: Path) -> None:
        self._spec = spec
        self._environment = environment
        self._data_dir = data_dir
        self._task: asyncio.Task[None] | None = None
        self._client: asyncio.Future[Client] | None = None
        self._over = asyncio.Event()
        self._tail: Tail | None = None
        self.redaction = Redaction()

    async def client(self) -> Client:
        """The open session; opens it where there is none. Raises what opening it raised."""
        if self._client is None or self._task is None or self._task.done():
            loop = asyncio.get_running_loop()
            self._client, self._over = loop.create_future(), asyncio.Event()
            self._task = loop.create_task(self._live(self._client, self._over))
        return await asyncio.shield(self._client)

    async def last_words(self) -> str:
        """What its program wrote to stderr last; "" for nothing, and for a server elsewhere."""
        return await self._tail.last_line(WORDS_S) if self._tail else ""

    def drop(self, client: Client) -> None:
        """This session is of no more use; nothing happens where there is a newer one."""
        opened = self._client
        if opened is not None and opened.done() and not opened.exception() and opened.result() is client:
            self._over.set()
            self._client = None

    async def close(self) -> None:
        """Ends the session."""
        task, self._task = self._task, None
        if task is None:
            return
        self._over.set()
        _, late = await asyncio.wait([task], timeout=CLOSING_S)
        for each in late:
            each.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def _live(self, opened: asyncio.Future[Client], over: asyncio.Event) -> None:
        try:
            async with contextlib.AsyncExitStack() as stack:
                client = await stack.enter_async_context(await self._connection(stack))
                opened.set_result(client)
                await over.wait()
        except asyncio.CancelledError:
            if not opened.done():
                opened.cancel()
            raise
        except BaseException as error:  # noqa: BLE001  # whatever it is, whoever waits for the session is told
            if not opened.done():
                opened.set_exception(error)
                opened.exception()  # seen, also where nobody waits any more

    async def _connection(self, stack: contextlib.AsyncExitStack) -> Client:
        from mcp import Client, StdioServerParameters
        from mcp.client.stdio import stdio_client

        spec = self._spec
        if spec.url is not None:
            return Client(self._over_http(spec.url.resolve(self._environment, self._data_dir), stack))
        program = StdioServerParameters(
            command=spec.command[0],
            args=spec.command[1:],
            env=variables(spec.env, self._environment, self._data_dir, self.redaction),
            cwd=self._data_dir,
        )
        return Client(stdio_client(program, errlog=await self._stderr(stack)))

    async def _stderr(self, stack: contextlib.AsyncExitStack) -> TextIO:
        """What the program's stderr is: a pipe that is read all the time."""
        reading, writing = os.pipe()
        stream = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        pipe = os.fdopen(reading, "rb")
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stream), pipe)
        stack.callback(transport.close)
        self._tail = Tail(stream)
        stack.push_async_callback(self._tail.close)
        return stack.enter_context(os.fdopen(writing, "w"))

    def _over_http(self, url: str, stack: contextlib.AsyncExitStack) -> Any:
        import httpx2
        from mcp.client.streamable_http import streamable_http_client

        headers: dict[str, str] = {}
        auth = self._spec.auth
        if auth is not None:
            secret = self.redaction.learn(auth.secret.resolve(self._environment, self._data_dir))
            name, prefix = ("authorization", "Bearer ") if auth.kind == "bearer" else (auth.name, auth.prefix)
            headers[name] = prefix + secret
        # every attempt has a deadline of its own over all of it
        client = httpx2.AsyncClient(headers=headers, timeout=None)  # see above
        stack.push_async_callback(client.aclose)
        return streamable_http_client(url, http_client=client)


class Servers:
    """All MCP servers of a process, one session each."""

    def __init__(self, environment: Mapping[str, str], data_dir: Path) -> None:
        self._environment = environment
        self._data_dir = data_dir
        self._servers: dict[str, Server] = {}

    def of(self, spec: McpProvider) -> Server:
        """The server that the provider names; the same for all that name it in the same way."""
        key = spec.model_dump_json(include={"command", "env", "url", "auth"})
        if key not in self._servers:
            self._servers[key] = Server(spec, self._environment, self._data_dir)
        return self._servers[key]

    async def close(self) -> None:
        """Ends all sessions."""
        servers, self._servers = self._servers, {}
        await asyncio.gather(*(server.close() for server in servers.values()))


class McpAttempts:
    """Makes attempts at one tool."""

    def __init__(self, spec: McpProvider, server: Server) -> None:
        self._spec = spec
        self._server = server
        self._arguments = template(spec.arguments)
        self._result = expression(spec.result)

    async def attempt(self, request: AttemptRequest) -> AttemptOutcome:
        """One call of the tool, one outcome; raises only CancelledError."""
        try:
            async with asyncio.timeout(request.timeout_seconds):
                outcome = await self._call(request)
        except TimeoutError:
            message = f"no answer within {request.timeout_seconds:g} s"
            outcome = Failure(error_class="transient", code="timeout", message=message, uncertain=True)
        if isinstance(outcome, Failure):
            return replace(outcome, message=self._server.redaction.text(outcome.message)[:MESSAGE_LIMIT])
        return outcome

    async def close(self) -> None:
        """The session is the server's; others may use it."""

    async def _call(self, request: AttemptRequest) -> AttemptOutcome:
        await asyncio.to_thread(importlib.import_module, "mcp")  # on the loop it would hold up all other attempts
        from mcp import MCPError

        try:
            client = await self._server.client()
        except Exception as error:  # noqa: BLE001  # programs, networks and servers fail to come up in many ways
            return _not_connected(error, await self._server.last_words())
        arguments = self._arguments_of(request)
        if isinstance(arguments, Failure):
            return arguments
        try:
            result = await client.call_tool(self._spec.tool, arguments)
        except MCPError as error:
            if error.code in SESSION_IS_OVER:
                self._server.drop(client)
            return _refused(error)
        except Exception as error:  # noqa: BLE001  # what the session is built on breaks in many ways
            self._server.drop(client)
            return _broken(error)
        return self._read(result)

    def _arguments_of(self, request: AttemptRequest) -> dict[str, Any] | Failure:
        """What the tool is given, or why there is none."""
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

    def _read(self, result: CallToolResult) -> AttemptOutcome:
        content = [block.model_dump(mode="json", by_alias=True, exclude_none=True) for block in result.content]
        text = "\n".join(block["text"] for block in content if block["type"] == "text")
        if result.is_error:
            return self._failed(text)
        raw = msgspec.json.encode({"structured": result.structured_content, "text": text, "content": content})
        if len(raw) > self._spec.max_bytes:
            message = f"its result is above {self._spec.max_bytes} bytes"
            return Failure(error_class="unknown", code="response_too_large", message=message, uncertain=True)
        told = msgspec.json.decode(self._server.redaction.raw(raw))
        if told["structured"] is None:
            with contextlib.suppress(msgspec.DecodeError):
                told["structured"] = msgspec.json.decode(told["text"])
        try:
            return Answer(result=self._result(told))
        except JMESPathError as error:
            message = f"its result is not as its manifest expects: {str(error).splitlines()[0]}"
            return Failure(error_class="transient", code="malformed_response", message=message, uncertain=True)

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


def _refused(error: Any) -> Failure:
    """What the protocol calls an error: the tool did not run, or it is not known whether."""
    error_class, code, uncertain = _BY_CODE.get(error.code, ("unknown", f"mcp_{error.code}", True))
    return Failure(error_class=error_class, code=code, message=f"{code}: {error.message}", uncertain=uncertain)


def _not_connected(error: BaseException, words: str) -> Failure:
    told = "; ".join([f"{type(leaf).__name__}: {leaf}" for leaf in _leaves(error)] + [words] * bool(words))
    status = next((code for leaf in _leaves(error) if (code := _status(leaf))), None)
    error_class: ErrorClass = "auth" if status in (401, 403) else "outage"
    return Failure(error_class=error_class, code="not_connected", message=f"no session with the MCP server: {told}")


def _broken(error: BaseException) -> Failure:
    told = "; ".join(f"{type(leaf).__name__}: {leaf}" for leaf in _leaves(error))
    return Failure(error_class="transient", code="session_broken", message=told, uncertain=True)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors in a group of groups."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _status(error: BaseException) -> int | None:
    response = getattr(error, "response", None)
    return getattr(response, "status_code", None)
