"""``backplane capabilities``: what can be called and who provides it; ``manifests`` has the commands that act."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from backplane.cli import manifests
from backplane.cli.health import health
from backplane.cli.import_openapi import import_openapi
from backplane.cli.output import CommandError, DataDir, JsonFlag, message, print_json, print_rows
from backplane.cli.shown import escaped

if TYPE_CHECKING:
    from agents_sdk.core.catalogue import Catalogue
    from agents_sdk.discovery import Discovery
    from backplane.manifests.model import Capability, Provider
    from backplane.manifests.registry import RegisteredCapability, Registry
    from backplane.manifests.tokens import Row

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Show, apply, switch and try what can be called.")

AllFlag = Annotated[bool, typer.Option("--all", help="Also what is disabled, or has no provider that can be asked.")]


SEE, TRY, CHANGE = "See it", "Try it", "Change it"


@app.callback()
def group() -> None:
    """Show, apply, switch and try what can be called."""


app.command(rich_help_panel=CHANGE)(manifests.apply)
app.command(rich_help_panel=CHANGE)(manifests.remove)
app.command(rich_help_panel=CHANGE)(manifests.disable)
app.command(rich_help_panel=CHANGE)(manifests.enable)
app.command(rich_help_panel=CHANGE)(manifests.pause)
app.command(rich_help_panel=CHANGE)(manifests.resume)
app.command("test", rich_help_panel=TRY)(manifests.try_out)
app.command("import-openapi", rich_help_panel=CHANGE)(import_openapi)
app.command("health", rich_help_panel=SEE)(health)


class View(NamedTuple):
    """The capabilities of the registry, or of this machine's files where no platform is configured."""

    registry: Registry
    catalogue: Catalogue | None
    data_dir: Path

    def standing(self, contract: RegisteredCapability) -> list[tuple[str, str]]:
        """(provider, why it cannot be asked; "" when it can) in declared order."""
        from backplane.manifests.model import environment
        from backplane.manifests.switches import RegistryTopics

        if self.catalogue is not None:
            return RegistryTopics(self.catalogue, self.registry).standing(contract, time.monotonic())
        providers = contract.capability.providers
        lacks = [(each.name, each.missing(environment(), self.data_dir)) for each in providers]
        return [(name, f"lacks {lack}" if lack else "") for name, lack in lacks]

    def state(self, contract: RegisteredCapability) -> str:
        """enabled, disabled or paused; ``dead`` where no provider can be asked."""
        from backplane.manifests.switches import state_of

        return state_of(self.registry.switch(contract.capability.name).state, self.standing(contract))


@app.command(name="list", rich_help_panel=SEE)
def list_capabilities(every: AllFlag = False, data_dir: DataDir = None, as_json: JsonFlag = False) -> None:
    """List what can be called: version, state, side effects, providers (in brackets: cannot be asked now)."""
    view = load(data_dir)
    shown = [(contract, view.state(contract)) for contract in view.registry]
    hidden = [] if every else [contract.capability.name for contract, state in shown if state in ("dead", "disabled")]
    rows = [
        (
            contract.capability.name,
            contract.version or "",
            state,
            contract.capability.side_effects,
            " ".join(f"({name})" if why else name for name, why in view.standing(contract)),
            contract.capability.description,
        )
        for contract, state in shown
        if contract.capability.name not in hidden
    ]
    print_rows(("name", "version", "state", "side_effects", "providers", "description"), rows, as_json=as_json)
    if hidden and not as_json:
        message(f"not shown: {', '.join(hidden)} (nobody can be asked, or disabled); --all shows them")


@app.command(rich_help_panel=SEE)
def show(name: str, data_dir: DataDir = None, as_json: JsonFlag = False) -> None:
    """Show the manifest of one capability, its state, and why a provider cannot be asked."""
    import yaml

    view = load(data_dir)
    contract = manifests.known(view.registry, name)
    data: dict[str, Any] = contract.capability.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    data |= {"version": contract.version, "source": contract.source, "state": view.state(contract)}
    switch = view.registry.switch(name)
    if switch.reason:
        data["reason"] = switch.reason
    for provider, (_, why) in zip(data["providers"], view.standing(contract), strict=True):
        provider["cannot_be_asked"] = why
    for provider, declared in zip(data["providers"], contract.capability.providers, strict=True):
        provider["costs_at_most"] = _costs_at_most(declared, contract.capability)
    if as_json:
        print_json(data)
        return
    for line in _about(data):
        print(f"# {escaped(line)}")
    print(yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=100), end="")


def _about(data: dict[str, Any]) -> list[str]:
    """Removes what is no part of the manifest: the rest can be applied again."""
    lines = [f"version {data.pop('version') or 'not registered'}, {data.pop('state')}, from {data.pop('source')}"]
    if reason := data.pop("reason", ""):
        lines.append(f"reason: {reason}")
    reasons = [(provider["name"], provider.pop("cannot_be_asked")) for provider in data["providers"]]
    for provider in data["providers"]:
        costs = ", ".join(f"{cost} ({what.replace('_', ' ')})" for what, cost in provider.pop("costs_at_most").items())
        lines.append(f"{provider['name']} costs at most {costs}")
    return [*lines, *(f"{name} cannot be asked: {why}" for name, why in reasons if why)]


def _costs_at_most(provider: Provider, capability: Capability) -> dict[str, str]:
    """The highest cost of one attempt: for the capability's example, and for any params. A call with a budget below the
    first is refused; other params have a ceiling of their own."""
    from agents_sdk.core.money import usd
    from backplane.recovery.ceiling import UNBOUNDED, ceiling_nano_usd, of_provider

    def amount(most: int) -> str:
        return "no upper bound" if most >= UNBOUNDED else usd(most)

    seconds = min(provider.timeout_seconds, capability.timeout_seconds)
    amounts = {"any_call": amount(ceiling_nano_usd(provider.price, seconds))}
    if capability.example is not None:
        return {"example": amount(of_provider(provider, seconds, capability.example)), **amounts}
    return amounts


@app.command(rich_help_panel=SEE)
def search(
    text: Annotated[str, typer.Argument(help="What is needed, in words.")],
    limit: Annotated[int, typer.Option("--limit", min=1)] = 5,
    data_dir: DataDir = None,
    as_json: JsonFlag = False,
) -> None:
    """Find capabilities by what they are for, as an agent's ctx.discover does."""
    found = _discovery(load(data_dir)).search(text, ("*",), time.monotonic(), limit)
    rows = [(each.name, each.score, each.side_effects, each.description) for each in found]
    print_rows(("name", "score", "side_effects", "description"), rows, as_json=as_json)


@app.command(rich_help_panel=SEE)
def tools(
    names: Annotated[list[str] | None, typer.Argument(help="Capabilities; all that can be called by default.")] = None,
    form: Annotated[str, typer.Option("--format", help="openai, anthropic or mcp.")] = "openai",
    data_dir: DataDir = None,
) -> None:
    """Print tool definitions for a language model, as an agent's ctx.tools does: one JSON list."""
    from typing import cast

    from agents_sdk.core.tools import FORMATS, Format
    from agents_sdk.toolbox import Toolbox

    if form not in FORMATS:
        raise CommandError("usage", f"no format {form!r}", f"use one of {', '.join(FORMATS)}")
    toolbox = Toolbox(_discovery(load(data_dir)), ("*",))
    try:
        print_json(toolbox.definitions(cast(Format, form), names or None))
    except LookupError as error:
        raise CommandError("not_found", str(error), "see `backplane capabilities list --all`") from error


@app.command(rich_help_panel=SEE)
def tokens(
    against: Annotated[
        Path | None, typer.Option(help="A JSON list of tools (or an answer to tools/list) to count, and compare with.")
    ] = None,
    data_dir: DataDir = None,
    as_json: JsonFlag = False,
) -> None:
    """Count what the tool definitions cost a model, against those of the same providers' own interfaces."""
    import json

    from backplane.manifests import tokens as counting

    counted = counting.rows(load(data_dir).registry)
    if against is None:
        compared = [each for each in counted if each.raw]
        rows: list[tuple[Any, ...]] = [
            (
                each.capability,
                each.tokens,
                each.raw_tokens or "",
                f"{each.ratio:.0f}" if each.raw else "",
                _sources(each),
            )
            for each in counted
        ]
        ours, raw = sum(each.tokens for each in compared), sum(each.raw_tokens for each in compared)
        rows.append(("all that are compared", ours, raw, f"{raw / ours:.0f}" if ours else "", ""))
    else:
        try:
            tools = counting.tools_of(json.loads(against.read_text()))
        except (OSError, ValueError) as error:
            raise CommandError("usage", f"{against}: {error}", "save what a server answers to tools/list") from error
        ours = sum(each.tokens for each in counted)
        handed = counting.count_json([counting.given(each) for each in tools])
        rows = [("all capabilities", ours, handed, f"{handed / ours:.1f}" if ours else "", f"{len(tools)} tools")]
    print_rows(("capability", "tokens", "raw_tokens", "times", "raw"), rows, as_json=as_json)


def _sources(row: Row) -> str:
    return "; ".join(f"{each.provider}: {each.tools} tools, {each.tokens}" for each in row.raw)


@app.command(rich_help_panel=SEE)
def schema() -> None:
    """Print the JSON Schema of manifests, for editors; schemas/manifest.schema.json is the same."""
    from backplane.manifests.schema import manifest_schema

    print_json(manifest_schema())


def load(data_dir: Path | None) -> View:
    """The registry as it is now; without a platform, this machine's manifests."""
    from agents_sdk import settings_model
    from backplane.manifests.registry import load_registry

    settings = settings_model.load({"data_dir": data_dir} if data_dir else {})
    if "bootstrap.servers" not in settings.kafka:
        message("no platform is running here: these are this machine's manifests")
        return View(load_registry(settings.capabilities.paths), None, settings.data_dir)
    registered = manifests.read(settings)
    return View(registered.registry, registered.catalogue, settings.data_dir)


def _discovery(view: View) -> Discovery:
    """The capabilities that an agent would search; without a platform, those that this machine could ask."""
    from agents_sdk.core.catalogue import Catalogue
    from agents_sdk.core.registry import ExecutorBeat
    from agents_sdk.discovery import Discovery
    from backplane.manifests import publish

    if view.catalogue is not None:
        return Discovery(view.catalogue)
    catalogue = Catalogue()
    ready: list[str] = []
    for number, contract in enumerate(view.registry):
        record = publish.record_of(contract, publish.source_of(contract), "")
        catalogue.take(record, number, 0.0)
        ready += [f"{contract.capability.name}/{name}" for name, why in view.standing(contract) if not why]
    here = ExecutorBeat(executor="here", period_ms=1_000_000, beat_at=0, ready=ready)
    catalogue.take(here, 0, time.monotonic())
    return Discovery(catalogue)
