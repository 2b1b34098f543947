"""Asks a provider that is a program: JSON lines over stdin and stdout, in a process group of its own.

A program whose time is over, or that wrote too much, is killed with all that it started. A worker is started again for
the next attempt. Its stderr is read all the time, so that it never blocks on it; its end is quoted when it fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import msgspec

from backplane.manifests.model import SubprocessProvider
from backplane.manifests.template import expression
from backplane.providers.attempts import Attempts, Surroundings
from backplane.providers.lines import MALFORMED, MESSAGE_LIMIT, read_line
from backplane.providers.redaction import Redaction
from backplane.providers.tail import Tail
from backplane.providers.variables import variables
from backplane.recovery.outcome import AttemptOutcome, AttemptRequest, Failure

CLOSING_S: Final = 2.0
"""For a worker whose input was closed to end by itself; below the executor's own time to stop."""


class Program:
    """One running process and its pipes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        assert process.stderr is not None
        self.stderr = Tail(process.stderr)

    async def kill(self) -> None:
        """Ends it and all that it started, now."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        # a pipe that nobody read to its end, of an answer that was too long, keeps the transport open and the waiting
        # going; asyncio has no public way to close it
        transport = self.process._transport  # type: ignore[attr-defined]  # see above
        if (pipe := transport.get_pipe_transport(1)) is not None:
            pipe.close()
        await self._gone()
        transport.close()

    async def close(self) -> None:
        """Lets it end by itself, for a moment."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        await self._gone()
        await self.kill()
        await self.stderr.close()

    async def _gone(self) -> None:
        # bounded: asyncio waits for the pipes as well, and one that has left the group may hold them
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSING_S):
                await self.process.wait()


class SubprocessAttempts(Attempts):
    """Makes attempts at one program."""

    def __init__(self, spec: SubprocessProvider, environment: Mapping[str, str], data_dir: Path) -> None:
        self._spec = spec
        self._environment = environment
        self._data_dir = data_dir
        self._redaction = Redaction()
        self._result = expression(spec.result)
        self._idle: list[Program] = []
        """Workers that wait; the one used last is asked first, so that the others may stay swapped out."""
        self._ending: set[asyncio.Task[None]] = set()

    async def attempt(self, request: AttemptRequest) -> AttemptOutcome:
        """One call, one outcome; raises only CancelledError. After any interruption no process is left that still works
        on it."""
        try:
            program = await self._start_or_take()
        except Exception as error:  # noqa: BLE001  # whatever it is, it was not asked
            message = self._redaction.text(f"{self._spec.command[0]!r} cannot be started: {error}")
            return Failure(error_class="outage", code="not_started", message=message)
        answered = False
        try:
            outcome, answered = await self._ask(program, request)
        finally:
            if not answered:
                await asyncio.shield(program.kill())
        if not answered and isinstance(outcome, Failure):
            outcome = await _with_last_words(outcome, program)
        if answered and self._spec.mode == "worker":
            self._idle.append(program)
        elif answered:
            self._let_end(program)
        if isinstance(outcome, Failure):
            return replace(outcome, message=self._redaction.text(outcome.message))
        return outcome

    async def close(self) -> None:
        """Ends the workers."""
        idle, self._idle = self._idle, []
        await asyncio.gather(*(program.close() for program in idle), *self._ending)

    def _let_end(self, program: Program) -> None:
        """Its answer is here; it may still have to tidy up."""
        task = asyncio.get_running_loop().create_task(program.close())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _start_or_take(self) -> Program:
        while self._idle:
            program = self._idle.pop()
            if program.process.returncode is None:
                return program
            await program.close()
        given = variables(self._spec.env, self._environment, self._data_dir, self._redaction)
        process = await asyncio.create_subprocess_exec(
            *self._spec.command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=self._spec.max_bytes,
            cwd=self._data_dir / self._spec.folder,
            env=given,
            start_new_session=True,
        )
        return Program(process)

    async def _ask(self, program: Program, request: AttemptRequest) -> tuple[AttemptOutcome, bool]:
        """The outcome, and whether the program gave it as it should: else it is of no more use. An interruption after
        the first byte is uncertain, for any error."""
        request_id = f"{request.call_id}/{request.attempt}"
        try:
            asked = self._line(request, request_id)
        except Exception as error:  # noqa: BLE001  # one attempt, one outcome: nothing else may leave it
            message = f"no request can be made: {type(error).__name__}: {error}"[:MESSAGE_LIMIT]
            return Failure(error_class="invalid_request", code="unsendable_request", message=message), True
        try:
            async with asyncio.timeout(request.timeout_seconds):
                await self._write(program, asked)
                while True:
                    line = self._redaction.raw(await self._read(program))
                    outcome = read_line(line, request_id, self._result)
                    if outcome is not None:
                        return outcome, not (isinstance(outcome, Failure) and outcome.code == MALFORMED)
        except Exception as error:  # noqa: BLE001  # as above
            return self._broken_off(error, request.timeout_seconds), False

    def _broken_off(self, error: Exception, seconds: float) -> Failure:
        if isinstance(error, TimeoutError):
            message = f"no answer within {seconds:g} s; it was killed"
            return Failure(error_class="transient", code="timeout", message=message, uncertain=True)
        if isinstance(error, _TooLong):
            message = f"a line of its answer is above {self._spec.max_bytes} bytes"
            return Failure(error_class="unknown", code="response_too_large", message=message, uncertain=True)
        if isinstance(error, EOFError | ConnectionError):
            message = "it ended without an answer"
            return Failure(error_class="transient", code="ended", message=message, uncertain=True)
        message = f"{type(error).__name__}: {error}"[:MESSAGE_LIMIT]
        return Failure(error_class="unknown", code="broken_answer", message=message, uncertain=True)

    def _line(self, request: AttemptRequest, request_id: str) -> bytes:
        asked: dict[str, Any] = {
            "id": request_id,
            "call_id": request.call_id,
            "run_id": request.run_id,
            "agent": request.agent,
            "attempt": request.attempt,
            "timeout_seconds": request.timeout_seconds,
            "params": request.params,
            "config": self._spec.config,
        }
        return msgspec.json.encode(asked) + b"\n"

    async def _write(self, program: Program, line: bytes) -> None:
        assert program.process.stdin is not None
        program.process.stdin.write(line)
        await program.process.stdin.drain()
        if self._spec.mode == "call":
            program.process.stdin.close()

    async def _read(self, program: Program) -> bytes:
        """The next line that is not empty. Raises _TooLong, and EOFError when there is none."""
        assert program.process.stdout is not None
        while True:
            try:
                line = await program.process.stdout.readuntil(b"\n")
            except asyncio.IncompleteReadError as ended:
                line = ended.partial
                if not line.strip():
                    raise EOFError from None
            except asyncio.LimitOverrunError:
                raise _TooLong from None
            if line.strip():
                return line


def make(spec: SubprocessProvider, around: Surroundings) -> SubprocessAttempts:
    """A program, ready to be asked."""
    return SubprocessAttempts(spec, around.environment, around.data_dir)


async def _with_last_words(failure: Failure, program: Program) -> Failure:
    """The failure with how the program ended and what it said last."""
    words = await program.stderr.last_line(CLOSING_S)
    code = program.process.returncode
    how = f" (exit code {code})" if failure.code == "ended" and code is not None and code >= 0 else ""
    return replace(failure, message=f"{failure.message}{how}" + (f": {words}" if words else ""))


class _TooLong(Exception):
    """A line is above the limit."""
