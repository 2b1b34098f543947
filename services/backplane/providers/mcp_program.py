"""A program that speaks MCP over stdin and stdout, as the transport that the package ``mcp`` wants.

Its own transport reads lines without a bound and gives a program that hangs four seconds; this one does neither.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Final

import anyio

from backplane.providers.subprocess import Program

MAX_LINE: Final = 32 * 1024 * 1024
"""Bytes of one message: results have texts and structures beside each other, and images as base64."""


class RunningProgram:
    """The program of one session, once it is started."""

    def __init__(self) -> None:
        self.program: Program | None = None

    async def last_line(self, patience_s: float) -> str:
        """Its last words on stderr; "" for nothing."""
        return await self.program.stderr.last_line(patience_s) if self.program else ""

    async def kill(self) -> None:
        """Ends it and all that it started, now."""
        if self.program is not None:
            await self.program.kill()


@contextlib.asynccontextmanager
async def speaking(
    command: list[str], env: Mapping[str, str], cwd: Path, running: RunningProgram
) -> AsyncIterator[Any]:
    """(read stream, write stream) of the program while the block runs. Raises OSError where it cannot be started."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=MAX_LINE,
        cwd=cwd,
        env=dict(env),
        start_new_session=True,
    )
    running.program = program = Program(process)
    read_in, read_out = anyio.create_memory_object_stream[Any](0)
    write_in, write_out = anyio.create_memory_object_stream[Any](0)
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(_hear, process, read_in)
            group.start_soon(_say, process, write_out, read_in)
            try:
                yield read_out, write_in
            finally:
                group.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            for stream in (read_in, read_out, write_in, write_out):
                await stream.aclose()
            await program.close()


async def _hear(process: asyncio.subprocess.Process, incoming: Any) -> None:
    """Each line that is a message; others are none of ours: programs print what they like."""
    from mcp.shared.message import SessionMessage
    from mcp_types import jsonrpc_message_adapter

    assert process.stdout is not None
    async with incoming:
        with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            while line := await _line(process.stdout):
                with contextlib.suppress(ValueError):
                    await incoming.send(SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False)))


async def _line(stream: asyncio.StreamReader) -> bytes:
    """The next line; b"" at the end, and for one above the limit, which is the end as well."""
    try:
        return await stream.readuntil(b"\n")
    except asyncio.IncompleteReadError as ended:
        return ended.partial
    except (asyncio.LimitOverrunError, OSError):
        return b""


async def _say(process: asyncio.subprocess.Process, asked: Any, incoming: Any) -> None:
    assert process.stdin is not None
    try:
        async with asked:
            async for message in asked:
                text = message.message.model_dump_json(by_alias=True, exclude_unset=True)
                process.stdin.write(text.encode() + b"\n")
                await process.stdin.drain()
    except OSError:
        await incoming.aclose()  # a waiting request gets the end of the session as its answer
