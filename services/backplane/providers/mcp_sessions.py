"""Sessions with MCP servers: opened when they are needed, shared by all tools of a server, given up when they fail.

A session lives in a task of its own, since what opens one must also close it. A useless session or process costs the
attempts that are under way in it, and no others. The next one finds a new session, or a new process. A server that does
not answer how one protocol begins is asked in the older or newer way next.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from backplane.manifests.egress import Policy, said
from backplane.manifests.model import McpProvider
from backplane.providers import gate
from backplane.providers.gate import AllowedAddresses
from backplane.providers.mcp_program import MAX_LINE, RunningProgram, speaking
from backplane.providers.redaction import Redaction
from backplane.providers.variables import variables

if TYPE_CHECKING:
    import httpx2
    from mcp import Client

CLOSING_S: Final = 4.0
"""For a session to end: a program has two seconds for it, and a server elsewhere gets a request."""
WORDS_S: Final = 0.2
"""For the last of what a program says to arrive once it has ended."""
MODES: Final = ("auto", "legacy")
"""How a session begins: by asking what the server speaks, or, as before 2026, with ``initialize`` at once. Programs of
those days may end at the question, or not answer it."""


class SeenResponses:
    """The HTTP responses to the requests of one attempt."""

    def __init__(self) -> None:
        self.status = 0
        """Of the last response that was no success; 0: there was none."""


SEEN: ContextVar[SeenResponses | None] = ContextVar("seen", default=None)
"""Of the attempt under way; the transport's tasks inherit it."""


async def _unchecked(name: str, result: Any) -> None:
    """In place of the library's check of a result against the schema that the server lists for its tool. A schema of a
    server runs on the event loop, and its patterns may take for ever. Results are held against the capability's own
    schema, as those of all providers. So nothing that a server lists is read."""


class Session:
    """One session with a server, from its opening to its end."""

    def __init__(
        self, spec: McpProvider, environment: Mapping[str, str], data_dir: Path, mode: str, policy: Policy
    ) -> None:
        self._policy = policy
        self._spec = spec
        self._environment = environment
        self._data_dir = data_dir
        self.mode = mode
        self.redaction = Redaction()
        self.users = 0
        self.running = RunningProgram()
        self._over = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[Client] = loop.create_future()
        self.task = loop.create_task(self._live())

    @property
    def open(self) -> bool:
        """It was opened."""
        return self._opened.done() and not self._opened.cancelled() and self._opened.exception() is None

    async def client(self) -> Client:
        """Once it is open. Raises what opening it raised."""
        return await asyncio.shield(self._opened)

    @property
    def spoken(self) -> str:
        """The mode in which its server need not be asked what it speaks."""
        return MODES[1] if self.open and self._opened.result().session.initialize_result is not None else MODES[0]

    def end(self) -> None:
        """Nobody uses it any more; one that is still opening is broken off."""
        self._over.set()
        if not self._opened.done():
            self.task.cancel()

    async def _live(self) -> None:
        stack = contextlib.AsyncExitStack()
        try:
            client = await stack.enter_async_context(await self._connection(stack))
            client.session.validate_tool_result = _unchecked  # type: ignore[method-assign]  # see there
            self._opened.set_result(client)
            await self._over.wait()
        except asyncio.CancelledError:
            if not self._opened.done():
                self._opened.cancel()
            raise
        except BaseException as error:  # noqa: BLE001 # for any error, the waiters for the session hear of it
            if not self._opened.done():
                self._opened.set_exception(error)
                self._opened.exception()  # seen, also where nobody waits any more
        finally:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(CLOSING_S):
                    await stack.aclose()

    async def _connection(self, stack: contextlib.AsyncExitStack) -> Client:
        from mcp import Client

        spec = self._spec
        if spec.url is not None:
            url = spec.url.resolve(self._environment, self._data_dir)
            return Client(await self._over_http(url, stack), mode=self.mode, cache=None)
        env = variables(spec.env, self._environment, self._data_dir, self.redaction)
        return Client(speaking(spec.command, env, self._data_dir, self.running), mode=self.mode, cache=None)

    async def _over_http(self, url: str, stack: contextlib.AsyncExitStack) -> Any:
        import httpx2
        from mcp.client.streamable_http import streamable_http_client

        headers = {"accept-encoding": "identity"}  # so that no response is larger than it came
        auth = self._spec.auth
        if auth is not None:
            secret = self.redaction.learn(auth.secret.resolve(self._environment, self._data_dir))
            name, prefix = ("authorization", "Bearer ") if auth.kind == "bearer" else (auth.name, auth.prefix)
            headers[name] = prefix + secret
        hooks: Any = {"response": [_looked_at]}
        way = AllowedAddresses(self._policy, said([url], private=self._spec.private), self._environment)
        through = gate.transport(httpx2, way)
        # every attempt has a deadline of its own over all of it
        client = httpx2.AsyncClient(transport=through, headers=headers, timeout=None, event_hooks=hooks)  # see above
        await stack.enter_async_context(client)
        return streamable_http_client(url, http_client=client, max_sse_event_size=MAX_LINE)


async def _looked_at(response: httpx2.Response) -> None:
    """Remembers the status for the attempt, and bounds what is read of the body."""
    seen = SEEN.get()
    if seen is not None and response.status_code >= 400:
        seen.status = response.status_code
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    endless = response.headers.get("content-type", "").lower().startswith("text/event-stream")
    response.stream = _bounded(response, refused=encoding not in ("", "identity"), endless=endless)


def _bounded(response: httpx2.Response, *, refused: bool, endless: bool) -> Any:
    import httpx2

    stream: Any = response.stream

    class BoundedBody(httpx2.AsyncByteStream):
        """A body up to its limit; a stream of events goes on for as long as it likes, each event within its own."""

        async def __aiter__(self) -> AsyncIterator[bytes]:
            if refused:
                raise httpx2.DecodingError("the response is compressed, which was not asked for")
            left = MAX_LINE
            async for chunk in stream:
                left -= 0 if endless else len(chunk)
                if left < 0:
                    raise httpx2.ReadError(f"the response is above {MAX_LINE} bytes")
                yield chunk

        async def aclose(self) -> None:
            await stream.aclose()

    return BoundedBody()


class Server:
    """One MCP server: the session that attempts are made in, and those that are ending."""

    def __init__(
        self,
        spec: McpProvider,
        environment: Mapping[str, str],
        data_dir: Path,
        policy: Policy = Policy(),  # noqa: B008
    ) -> None:
        self._policy = policy
        self._spec = spec
        self._environment = environment
        self._data_dir = data_dir
        self._current: Session | None = None
        self._mode = MODES[0]
        self._tasks: set[asyncio.Task[None]] = set()

    def enter(self) -> Session:
        """The session to be used now, to be left by ``leave``; a new one where there is none that is any good."""
        session = self._current
        if session is None or session.task.done():
            session = self._current = Session(self._spec, self._environment, self._data_dir, self._mode, self._policy)
            self._tasks.add(session.task)
            session.task.add_done_callback(self._tasks.discard)
        session.users += 1
        return session

    def leave(self, session: Session, *, broken: bool) -> None:
        """The attempt is over; ``broken``: nobody else is to begin one in this session."""
        session.users -= 1
        if broken and self._current is session:
            self._current = None
            # where it was never open, the other way may be answered
            self._mode = session.spoken if session.open else next(mode for mode in MODES if mode != session.mode)
        if self._current is not session and not session.users:
            session.end()

    async def close(self) -> None:
        """Ends all sessions."""
        current, self._current = self._current, None
        if current is not None:
            current.end()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=CLOSING_S + 1)
            for each in late:
                each.cancel()
            await asyncio.gather(*late, return_exceptions=True)


class Servers:
    """All MCP servers of a process."""

    def __init__(
        self,
        environment: Mapping[str, str],
        data_dir: Path,
        policy: Policy = Policy(),  # noqa: B008
    ) -> None:
        self._policy = policy
        self._environment = environment
        self._data_dir = data_dir
        self._servers: dict[str, Server] = {}

    def of(self, spec: McpProvider) -> Server:
        """The server that the provider names; the same for all that name it in the same way."""
        key = spec.model_dump_json(include={"command", "env", "url", "auth", "private"})
        if key not in self._servers:
            self._servers[key] = Server(spec, self._environment, self._data_dir, self._policy)
        return self._servers[key]

    async def close(self) -> None:
        """Ends all sessions."""
        servers, self._servers = self._servers, {}
        await asyncio.gather(*(server.close() for server in servers.values()))


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors in a group of groups."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    else:
        yield error
