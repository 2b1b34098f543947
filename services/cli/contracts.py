"""``backplane contracts``: what state values and messages must be."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.output import CommandError, DataDir, JsonFlag, message, print_json, print_rows

if TYPE_CHECKING:
    from agents_sdk.core.facts import ContractEvent
    from agents_sdk.settings import Settings
    from services.topics.contracts import Applied

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Apply and show contracts of state and messages.")


@app.callback()
def group() -> None:
    """Apply and show contracts of state and messages."""


@app.command()
def apply(
    module: Annotated[str, typer.Argument(metavar="MODULE", help="A module (pkg.mod) or a file (contracts.py).")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
    as_json: JsonFlag = False,
    data_dir: DataDir = None,
) -> None:
    """Apply the contracts that a module declares; a change that breaks what was written before is refused."""
    from agents_sdk.wire.registry import Registry
    from services.cli.agents import load
    from services.topics import contracts

    declared = contracts.declared(load(module))
    if not declared:
        raise CommandError(
            "not_found", f"no contracts in {module!r}", "a contract is a global: NOTES = StateContract(…)"
        )
    settings = _settings(data_dir)
    with Registry(settings) as registry:
        applied = (contracts.compared if dry_run else contracts.registered)(registry, declared)
    if not dry_run:
        asyncio.run(_tell(settings, applied))
    rows = [(one.contract.target, one.contract.pattern, one.contract.reducer, one.status) for one in applied]
    print_rows(("target", "pattern", "reducer", "status"), rows, as_json=as_json)
    if dry_run and not as_json:
        message("nothing was applied")


@app.command("list")
def list_(as_json: JsonFlag = False, data_dir: DataDir = None) -> None:
    """List the contracts that hold."""
    fields = ("target", "pattern", "reducer", "contract_version", "schema_id")
    rows = [tuple(getattr(event, field) for field in fields) for event in _held(data_dir)]
    print_rows(("target", "pattern", "reducer", "version", "schema_id"), rows, as_json=as_json)


@app.command()
def show(
    pattern: Annotated[str, typer.Argument(metavar="PATTERN", help="The contract's pattern.")],
    target: Annotated[str, typer.Option(help="state or message; needed where both have this pattern.")] = "",
    as_json: JsonFlag = False,
    data_dir: DataDir = None,
) -> None:
    """Print a contract's JSON Schema; with --json, all of the contract."""
    found = [one for one in _held(data_dir) if one.pattern == pattern and target in ("", one.target)]
    if len(found) != 1:
        problem = "there are two contracts" if found else "there is no contract"
        hint = "say which: --target state" if found else "`backplane contracts list` shows them"
        raise CommandError("usage" if found else "not_found", f"{problem} {pattern!r}", hint)
    event, schema = found[0], json.loads(found[0].schema)
    about = {"target": event.target, "pattern": event.pattern, "reducer": event.reducer, "schema": schema}
    numbers = {"version": event.contract_version, "schema_id": event.schema_id}
    print_json(about | numbers if as_json else schema)


async def _tell(settings: Settings, applied: list[Applied]) -> None:
    from agents_sdk.client import AsyncBackplane
    from services.topics.contracts import apply as tell

    async with AsyncBackplane.connect(settings, name="cli") as backplane:
        await tell(backplane.transport, "cli", applied)


def _held(data_dir: Path | None) -> list[ContractEvent]:
    from agents_sdk.history import read_contracts
    from agents_sdk.wire.registry import connect_codec
    from services.topics.contracts import newest

    settings = _settings(data_dir)
    return newest(read_contracts(settings, connect_codec(settings), ""))


def _settings(data_dir: Path | None) -> Settings:
    from agents_sdk.settings import load_settings

    return load_settings(**({"data_dir": data_dir} if data_dir else {}))
