"""The common part of all commands that call a capability: their options, the call itself, how it is shown."""

from __future__ import annotations

import mimetypes
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from backplane.cli.output import CommandError, message, print_json
from backplane.cli.run_name import named_run

if TYPE_CHECKING:
    from agents_sdk.artifacts import ArtifactStore
    from agents_sdk.client import AsyncBackplane
    from agents_sdk.errors import CallFailed
    from agents_sdk.operations import CallResult
    from agents_sdk.settings import Settings

RunOption = Annotated[
    str | None,
    typer.Option("--run", help="Call within this run (id or `last`), not in one of its own."),
]
TimeoutOption = Annotated[float | None, typer.Option("--timeout", min=0.001, help="Seconds for all attempts together.")]
OutOption = Annotated[Path | None, typer.Option("--out", "-o", help="Write the file here; - writes it to stdout.")]

WORKFLOW: Final = "shell"
CODES: Final = {"unknown_capability": "not_found", "invalid_params": "usage"}
CLASSES: Final = {"auth": "auth", "outage": "unreachable"}
STDOUT: Final = Path("-")


@dataclass(frozen=True)
class CallOptions:
    """How a call is made, as the options say."""

    run: str | None = None
    timeout: float | None = None
    budget: str | None = None
    data_dir: Path | None = None

    @cached_property
    def settings(self) -> Settings:
        """Of this process."""
        from agents_sdk.settings import load_settings

        return load_settings(**({"data_dir": self.data_dir} if self.data_dir else {}))

    @cached_property
    def artifacts(self) -> ArtifactStore:
        """Where files are kept that calls make and are given."""
        from agents_sdk.artifacts import ArtifactStore

        return ArtifactStore(self.settings.data_dir, self.settings.artifacts.url)

    def upload(self, path: Path) -> dict[str, Any]:
        """The descriptor of a file of this machine, stored as an artifact. Raises CommandError."""
        try:
            content = path.read_bytes()
        except OSError as error:
            raise CommandError("usage", f"{str(path)!r} cannot be read: {error.strerror}") from error
        mime = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        return self.artifacts.put(content, mime).descriptor()


@dataclass(frozen=True)
class SucceededCall:
    """A call that gave a result."""

    capability: str
    run_id: str
    result: CallResult

    def document(self) -> dict[str, Any]:
        """All about it, for a program."""
        return {
            "run_id": self.run_id,
            "call_id": self.result.call_id,
            "event_id": self.result.event_id,
            "capability": self.capability,
            "provider": self.result.provider,
            "attempts": self.result.attempts,
            "degraded": self.result.degraded,
            "latency_ms": self.result.latency_ms,
            "cost_nano_usd": self.result.cost_nano_usd,
            "result": self.result.result,
        }

    def summary(self) -> str:
        """One line for a person."""
        from agents_sdk.core.money import dollars
        from backplane.insight.wording import counted

        result = self.result
        head = f"{self.capability} by {result.provider}{', DEGRADED' if result.degraded else ''}"
        tried, cost = counted(result.attempts, "attempt"), dollars(result.cost_nano_usd)
        return f"{head}: {tried}, {result.latency_ms:.1f} ms, {cost}; run {self.run_id}"

    def save(self, how: CallOptions, out: Path | None) -> str:
        """Writes the artifact of the result to ``out``. Gives the text for stdout: the file, or without one the
        reference. Raises CommandError."""
        artifact = self.result.result.get("artifact")
        if artifact is None:
            raise CommandError("no_artifact", "the result has no file", "it is a declared substitute; see --json")
        if out is None:
            message(f"`backplane artifacts get {artifact['uri']} --out FILE` writes it to a file")
            return str(artifact["uri"])
        write(out, how.artifacts.get(artifact["uri"]))
        return "" if out == STDOUT else str(out)


def perform(capability: str, params: Mapping[str, Any], how: CallOptions) -> SucceededCall:
    """Makes the call. Raises CommandError, by whose code the process ends, for one that failed."""
    import asyncio

    from agents_sdk.errors import CallFailed

    try:
        if how.run is not None:
            how = replace(how, run=named_run(how.run, how.data_dir))
        run_id, result = asyncio.run(_call(capability, params, how))
    except CallFailed as failed:
        raise command_error(failed) from failed
    return SucceededCall(capability, run_id, result)


def finish(called: SucceededCall, how: CallOptions, out: Path | None, *, as_json: bool) -> None:
    """Ends a command whose result is a file: saves it and says where it is."""
    where = called.save(how, out) if out is not None or not as_json else ""
    if as_json and out != STDOUT:
        print_json({**called.document(), **({"out": where} if out else {})})
        return
    if where:
        print(where)
    message(called.summary())


def write(out: Path, content: bytes) -> None:
    """Writes the bytes to the file, or to stdout for ``-``. Raises CommandError."""
    if out == STDOUT:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    try:
        out.write_bytes(content)
    except OSError as error:
        hint = "the result itself is kept: `backplane artifacts list` shows it"
        raise CommandError("usage", f"{str(out)!r} cannot be written: {error.strerror}", hint) from error


def given(**params: Any) -> dict[str, Any]:
    """The params that have a value; what was not said is the capability's own default."""
    return {name: value for name, value in params.items() if value is not None}


async def _call(capability: str, params: Mapping[str, Any], how: CallOptions) -> tuple[str, CallResult]:
    from agents_sdk.client import AsyncBackplane

    async with AsyncBackplane.connect(how.settings, name=WORKFLOW) as client:
        if how.run is not None:
            result = await client.run(how.run).execute(
                capability, params, timeout_seconds=how.timeout, budget=how.budget
            )
            return how.run, result
        return await _in_own_run(client, capability, params, how)


async def _in_own_run(
    client: AsyncBackplane, capability: str, params: Mapping[str, Any], how: CallOptions
) -> tuple[str, CallResult]:
    run = await client.start_run(WORKFLOW, {"capability": capability, "params": params}, complete_when="explicit")
    try:
        result = await run.execute(capability, params, timeout_seconds=how.timeout, budget=how.budget)
    except BaseException as error:
        # also after Ctrl-C: a run that nobody will end would stay open for ever
        await run.fail(str(error) or type(error).__name__)
        raise
    await run.complete({"call_id": result.call_id, "provider": result.provider})
    return run.id, result


def command_error(failed: CallFailed) -> CommandError:
    """A failed call as an error of the command line, with the exit code of its kind."""
    code = str(failed.fields.get("error_code", "call_failed"))
    error_class = str(failed.fields.get("error_class", ""))
    hint = f"class {error_class}, {failed.fields.get('attempts', 0)} attempts, call {failed.fields.get('call_id', '')}"
    kind = CODES.get(code) or CLASSES.get(error_class) or code
    return CommandError(kind, failed.message, hint, said=failed.said, said_by=failed.said_by)
