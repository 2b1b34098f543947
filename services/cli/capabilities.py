"""``backplane capabilities``: what can be called, and who provides it, as this machine's manifests say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from services.cli.import_openapi import import_openapi
from services.cli.output import CommandError, DataDir, JsonFlag, print_json, print_rows

if TYPE_CHECKING:
    from pathlib import Path

    from services.capabilities.registry import Contract, Registry

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Show what can be called, and by which providers.")


@app.callback()
def group() -> None:
    """Show what can be called, and by which providers."""


app.command("import-openapi")(import_openapi)


@app.command(name="list")
def list_capabilities(data_dir: DataDir = None, as_json: JsonFlag = False) -> None:
    """List the capabilities: side effects, providers in rank order (those that lack something in brackets)."""
    registry, directory = _load(data_dir)
    rows = [
        (
            contract.capability.name,
            contract.capability.side_effects,
            " ".join(f"({name})" if lack else name for name, lack in _providers(contract, directory)),
            contract.capability.description,
        )
        for contract in registry
    ]
    print_rows(("name", "side_effects", "providers", "description"), rows, as_json=as_json)


@app.command()
def show(name: str, data_dir: DataDir = None, as_json: JsonFlag = False) -> None:
    """Show the manifest of one capability, and what its providers lack here."""
    import yaml

    from services.capabilities.registry import UnknownCapability

    registry, directory = _load(data_dir)
    try:
        contract = registry.get(name)
    except UnknownCapability as error:
        raise CommandError("not_found", error.message, error.hint) from error
    data: dict[str, Any] = contract.capability.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    data["manifest"] = str(contract.source)
    for provider, (_, lack) in zip(data["providers"], _providers(contract, directory), strict=True):
        provider["lacks"] = lack
    if as_json:
        print_json(data)
    else:
        print(yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=100), end="")


def _providers(contract: Contract, directory: Path) -> list[tuple[str, str]]:
    """(name, what it lacks in this environment) of each provider, in rank order."""
    from services.capabilities.model import environment

    providers = contract.capability.providers
    return [(provider.name, provider.missing(environment(), directory)) for provider in providers]


def _load(data_dir: Path | None) -> tuple[Registry, Path]:
    """All manifests and the data directory; works without a platform."""
    from agents_sdk import settings_model
    from services.capabilities.registry import load_registry

    settings = settings_model.load({"data_dir": data_dir} if data_dir else {})
    return load_registry(settings.capabilities.paths), settings.data_dir
