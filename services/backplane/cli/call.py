"""``backplane call``: one capability call from the shell, as a run of its own or in one that goes on."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from backplane.cli.calling import CallOptions, RunOption, TimeoutOption, perform
from backplane.cli.output import Budget, CommandError, DataDir, JsonFlag, message, print_json, print_rows

if TYPE_CHECKING:
    from agents_sdk.settings import Settings

CELL_CHARS: Final = 100
"""Of a text in a table; ``--json`` has it whole."""


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
    run: RunOption = None,
    timeout: TimeoutOption = None,
    budget: Budget = None,
    data_dir: DataDir = None,
    as_json: JsonFlag = False,
) -> None:
    """Call a capability and print its result.

    Exit codes: 0 it gave a result; 1 every provider failed; 2 the params are wrong; 3 there is no such capability or
    run. 4 a provider refused our credentials; 5 the platform, or every provider, is out of reach.
    """
    how = CallOptions(run=run, timeout=timeout, budget=budget, data_dir=data_dir)
    called = perform(capability, gather(param or [], params_json, text_params(capability, how.settings)), how)
    if as_json:
        print_json(called.document())
    else:
        show(called.result.result)
        message(called.summary())


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
    from backplane.manifests.registry import UnknownCapability, load_registry

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
