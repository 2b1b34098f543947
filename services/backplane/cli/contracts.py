"""``backplane contracts``: what state values and messages must be."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from backplane.cli.output import CommandError, DataDir, JsonFlag, message, print_json, print_rows

if TYPE_CHECKING:
    from agents_sdk.core.facts import ContractEvent
    from agents_sdk.settings import Settings
    from backplane.topics.contracts import ContractChange

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Apply, show and remove contracts of state and messages."
)

ALL: Final = "*"
"""Where a contract holds that is for all workflows, as people are shown it."""
Target = Annotated[str, typer.Option(help="state or message; needed where both have this pattern.")]
Workflow = Annotated[
    str | None, typer.Option(help="The workflow it is for, * for one that is for all; needed where several are.")
]


@app.callback()
def group() -> None:
    """Apply, show and remove contracts of state and messages."""


@app.command()
def apply(
    module: Annotated[str, typer.Argument(metavar="MODULE", help="A module (pkg.mod) or a file (contracts.py).")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
    as_json: JsonFlag = False,
    data_dir: DataDir = None,
) -> None:
    """Apply the contracts that a module declares; a change that breaks what was written before is refused."""
    from agents_sdk.wire.registry import Registry
    from backplane.cli.agents import load
    from backplane.topics import contracts

    declared = contracts.declared(load(module))
    if not declared:
        raise CommandError(
            "not_found", f"no contracts in {module!r}", "a contract is a global: NOTES = StateContract(…)"
        )
    settings = _settings(data_dir)
    with Registry(settings) as registry:
        applied = (contracts.compared if dry_run else contracts.registered)(registry, declared)
    if not dry_run:
        asyncio.run(_announce(settings, applied))
    rows = [
        (one.contract.target, one.contract.pattern, one.contract.workflow or ALL, one.contract.reducer, one.status)
        for one in applied
    ]
    print_rows(("target", "pattern", "workflow", "reducer", "status"), rows, as_json=as_json)
    if dry_run and not as_json:
        message("nothing was applied")


@app.command("list")
def list_(as_json: JsonFlag = False, data_dir: DataDir = None) -> None:
    """List the contracts that hold."""
    rows = [
        (one.target, one.pattern, one.workflow or ALL, one.reducer, one.contract_version, one.schema_id)
        for one in _held(data_dir)
    ]
    print_rows(("target", "pattern", "workflow", "reducer", "version", "schema_id"), rows, as_json=as_json)


@app.command()
def show(
    pattern: Annotated[str, typer.Argument(metavar="PATTERN", help="The contract's pattern.")],
    target: Target = "",
    workflow: Workflow = None,
    as_json: JsonFlag = False,
    data_dir: DataDir = None,
) -> None:
    """Print a contract's JSON Schema; with --json, all of the contract."""
    event = _one(pattern, target, workflow, data_dir)
    schema = json.loads(event.schema)
    about = {"target": event.target, "pattern": event.pattern, "workflow": event.workflow}
    about |= {"reducer": event.reducer, "schema": schema}
    numbers = {"version": event.contract_version, "schema_id": event.schema_id}
    print_json(about | numbers if as_json else schema)


@app.command()
def remove(
    pattern: Annotated[str, typer.Argument(metavar="PATTERN", help="The contract's pattern.")],
    target: Target = "",
    workflow: Workflow = None,
    as_json: JsonFlag = False,
    data_dir: DataDir = None,
) -> None:
    """Remove a contract: from now on nobody is held to it. Earlier values stay as they are."""
    event = _one(pattern, target, workflow, data_dir)
    asyncio.run(_untell(_settings(data_dir), event))
    rows = [(event.target, event.pattern, event.workflow or ALL, "removed")]
    print_rows(("target", "pattern", "workflow", "status"), rows, as_json=as_json)


def _one(pattern: str, target: str, workflow: str | None, data_dir: Path | None) -> ContractEvent:
    held = [one for one in _held(data_dir) if one.pattern == pattern and target in ("", one.target)]
    found = [one for one in held if workflow is None or one.workflow == ("" if workflow == ALL else workflow)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise CommandError("not_found", f"there is no contract {pattern!r}", "`backplane contracts list` shows them")
    first = found[0]
    which = f"--target {first.target} --workflow '{first.workflow or ALL}'"
    raise CommandError("usage", f"there are {len(found)} contracts {pattern!r}", f"say which: {which}")


async def _untell(settings: Settings, event: ContractEvent) -> None:
    from agents_sdk.client import AsyncBackplane
    from backplane.topics.contracts import remove as untell

    async with AsyncBackplane.connect(settings, name="cli") as backplane:
        await untell(backplane.transport, "cli", event)


async def _announce(settings: Settings, applied: list[ContractChange]) -> None:
    from agents_sdk.client import AsyncBackplane
    from backplane.topics.contracts import apply as apply_contracts

    async with AsyncBackplane.connect(settings, name="cli") as backplane:
        await apply_contracts(backplane.transport, "cli", applied)


def _held(data_dir: Path | None) -> list[ContractEvent]:
    from agents_sdk.history import read_contracts
    from agents_sdk.wire.registry import connect_codec
    from backplane.topics.contracts import newest

    settings = _settings(data_dir)
    return newest(read_contracts(settings, connect_codec(settings), ""))


def _settings(data_dir: Path | None) -> Settings:
    from agents_sdk.settings import load_settings

    return load_settings(**({"data_dir": data_dir} if data_dir else {}))
