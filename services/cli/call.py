"""``backplane call``: one capability call from the shell, as a run of its own or in one that goes on."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from services.cli.output import Budget, CommandError, DataDir, JsonFlag, message, print_json, print_rows

if TYPE_CHECKING:
    from agents_sdk.client import AsyncBackplane
    from agents_sdk.errors import CallFailed
    from agents_sdk.operations import CallResult
    from agents_sdk.settings import Settings

WORKFLOW: Final = "shell"
CELL_CHARS: Final = 100
"""Of a text in a table; ``--json`` has it whole."""
CODES: Final = {"unknown_capability": "not_found", "invalid_params": "usage"}
CLASSES: Final = {"auth": "auth", "outage": "unreachable"}


def call(
    capability: Annotated[str, typer.Argument(help="Its name; see `backplane capabilities list`.")],
    param: Annotated[
        list[str] | None,
        typer.Option(
            "--param", "-p", help="NAME=VALUE; read as JSON unless the capability wants a text.", metavar="K=V"
        ),
    ] = None,
    params_json: Annotated[
        str | None, typer.Option("--params-json", help="All params as one JSON object; - reads it from stdin.")
    ] = None,
    run: Annotated[str | None, typer.Option("--run", help="Call within this run instead of one of its own.")] = None,
    timeout: Annotated[
        float | None, typer.Option("--timeout", min=0.001, help="Seconds for all attempts together.")
    ] = None,
    budget: Budget = None,
    data_dir: DataDir = None,
    as_json: JsonFlag = False,
) -> None:
    """Call a capability and print its result.

    Exit codes: 0 it gave a result; 1 every provider failed; 2 the params are wrong; 3 there is no such capability or
    run; 4 a provider refused our credentials; 5 the platform, or every provider, is out of reach.
    """
    import asyncio

    from agents_sdk.errors import CallFailed
    from agents_sdk.settings import load_settings

    settings = load_settings(**({"data_dir": data_dir} if data_dir else {}))
    params = gather(param or [], params_json, text_params(capability, settings))
    try:
        run_id, result = asyncio.run(_call(settings, capability, params, run, timeout, budget))
    except CallFailed as failed:
        raise _told(failed) from failed
    if as_json:
        print_json(_document(capability, run_id, result))
    else:
        show(result.result)
        message(_summary(capability, run_id, result))


def _summary(capability: str, run_id: str, result: CallResult) -> str:
    from services.cli.story import counted
    from services.sink.answers import usd

    told = f"{capability} by {result.provider}{', DEGRADED' if result.degraded else ''}"
    tried, cost = counted(result.attempts, "attempt"), usd(result.cost_nano_usd)
    return f"{told}: {tried}, {result.latency_ms:.1f} ms, {cost}; run {run_id}"


async def _call(
    settings: Settings,
    capability: str,
    params: Mapping[str, Any],
    run_id: str | None,
    timeout: float | None,
    budget: str | None,
) -> tuple[str, CallResult]:
    from agents_sdk.client import AsyncBackplane

    async with AsyncBackplane.connect(settings, name=WORKFLOW) as client:
        if run_id is not None:
            return run_id, await client.execute(capability, params, run=run_id, timeout_seconds=timeout, budget=budget)
        return await _in_own_run(client, capability, params, timeout, budget)


async def _in_own_run(
    client: AsyncBackplane, capability: str, params: Mapping[str, Any], timeout: float | None, budget: str | None
) -> tuple[str, CallResult]:
    run = await client.start_run(WORKFLOW, {"capability": capability, "params": params}, complete_when="explicit")
    try:
        result = await client.execute(capability, params, run=run, timeout_seconds=timeout, budget=budget)
    except BaseException as error:
        # also after Ctrl-C: a run that nobody will end would stay open for ever
        await run.fail(str(error) or type(error).__name__)
        raise
    await run.complete({"call_id": result.call_id, "provider": result.provider})
    return run.id, result


def gather(pairs: Iterable[str], whole: str | None, texts: frozenset[str]) -> dict[str, Any]:
    """The params of ``--params-json`` and, over them, those of ``--param``; the names in ``texts`` are never read as
    JSON. Raises CommandError."""
    params: dict[str, Any] = {}
    if whole is not None:
        text = sys.stdin.read() if whole == "-" else whole
        try:
            params = json.loads(text)
        except ValueError as error:
            raise CommandError("usage", f"--params-json is no JSON: {error}", "quote it for the shell") from error
        if not isinstance(params, dict):
            raise CommandError("usage", f"--params-json is no object: {text[:80]!r}", 'for example \'{"query": "x"}\'')
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise CommandError("usage", f"--param {pair!r} is not NAME=VALUE", "for example --param query=streams")
        params[name] = value if name in texts else _value(value)
    return params


def text_params(capability: str, settings: Settings) -> frozenset[str]:
    """The params that this machine's manifest of the capability says are texts; none when it has no manifest here."""
    from services.capabilities.registry import UnknownCapability, load_registry

    try:
        schema = load_registry(settings.capabilities.paths).get(capability).capability.params
    except UnknownCapability:
        return frozenset()
    properties = schema.get("properties", {})
    return frozenset(name for name, of in properties.items() if isinstance(of, dict) and of.get("type") == "string")


def show(result: Any) -> None:
    """The result for a person: a list of objects as a table, anything else as JSON."""
    rows = next(iter(result.values())) if isinstance(result, dict) and len(result) == 1 else None
    if not (isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows)):
        print_json(result)
        return
    columns = [name for name, value in rows[0].items() if isinstance(value, str | int | float)]
    print_rows(columns, [[_cell(row.get(name)) for name in columns] for row in rows])


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    line = " ".join(value.split())
    return line if len(line) <= CELL_CHARS else line[: CELL_CHARS - 1] + "…"


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _document(capability: str, run_id: str, result: CallResult) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "call_id": result.call_id,
        "capability": capability,
        "provider": result.provider,
        "attempts": result.attempts,
        "degraded": result.degraded,
        "latency_ms": result.latency_ms,
        "cost_nano_usd": result.cost_nano_usd,
        "result": result.result,
    }


def _told(failed: CallFailed) -> CommandError:
    code = str(failed.fields.get("error_code", "call_failed"))
    error_class = str(failed.fields.get("error_class", ""))
    hint = f"class {error_class}, {failed.fields.get('attempts', 0)} attempts, call {failed.fields.get('call_id', '')}"
    return CommandError(CODES.get(code) or CLASSES.get(error_class) or code, failed.message, hint)
