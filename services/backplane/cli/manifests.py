"""Commands of ``backplane capabilities`` that change the registry or try what is in it."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backplane.cli.output import CommandError, DataDir, JsonFlag, message, print_json, print_rows

if TYPE_CHECKING:
    from agents_sdk.core.catalogue import Catalogue
    from agents_sdk.registrar import Registrar
    from agents_sdk.settings import Settings
    from backplane.manifests.publish import Change
    from backplane.manifests.registry import RegisteredCapability, Registry
    from backplane.manifests.switches import RegistryTopics

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")]


class Policy(StrEnum):
    """Treatment of calls to a paused capability."""

    wait = "wait"
    fail = "fail"


Target = Annotated[str, typer.Argument(metavar="NAME[/PROVIDER]", help="A capability, or one of its providers.")]


def apply(
    folder: Annotated[
        Path | None, typer.Argument(help="Folder of manifests; without one: those built in and of capabilities.paths.")
    ] = None,
    dry_run: DryRun = False,
    as_json: JsonFlag = False,
    data_dir: DataDir = None,
) -> None:
    """Apply manifests: agents and executors that run take them over within two seconds.

    Nothing is applied when one of them is malformed or would break callers. The error names file, line and column.
    Params may widen; results have to keep what they promised.
    """
    from backplane.manifests import publish
    from backplane.manifests.registry import examine_folder, load_registry

    settings = settings_of(data_dir)
    if folder is None:
        contracts = list(load_registry(settings.capabilities.paths))
    else:
        found, problems = examine_folder(folder)
        if problems:
            raise CommandError("manifest", "\n".join(each.message for each in problems), "nothing was applied")
        contracts = list(found.values())
        _check_functions(contracts, settings.data_dir)
    catalogue = read(settings).catalogue
    changes: list[Change] = []
    records = []
    for source in publish.OWN if folder is None else ("applied",):
        ours = [each for each in contracts if folder is not None or publish.source_of(each) == source]
        planned = publish.plan(catalogue, ours, source)
        changes += planned
        records += publish.records(planned, source, "cli")
    refused = [f"{each.contract.source}: {line}" for each in changes for line in each.refused]
    if refused:
        hint = "nothing was applied; what breaks callers needs another name"
        raise CommandError("incompatible_manifest", "\n".join(refused), hint)
    if not dry_run:
        _registrar(settings, catalogue).put(records)
        catalogue = read(settings).catalogue
    rows = [(each.contract.capability.name, each.status, _version(catalogue, each)) for each in changes]
    print_rows(("name", "status", "version"), rows, as_json=as_json)
    if dry_run and not as_json:
        message("nothing was applied")


def _check_functions(contracts: list[RegisteredCapability], data_dir: Path) -> None:
    """Refuses functions that the executors of this machine cannot load; elsewhere executors have their own code."""
    from backplane.cli.loadable import executor_of, functions, problems

    named = functions(contracts)
    place = executor_of(data_dir)
    if not named:
        return
    if place is None:
        message(f"not tried: {', '.join(named)}; no executor of this data directory runs on this machine")
        return
    lines, looked = problems(named, place)
    if lines:
        hint = f"nothing was applied; the executor looks in {', '.join(looked) or place.folder}: put the module there, "
        hint += "or start the platform with PYTHONPATH set"
        raise CommandError("manifest", "\n".join(lines), hint)


def _version(catalogue: Catalogue, change: Change) -> int | str:
    held = catalogue.manifests.get(change.contract.capability.name)
    return held.version if held else ""


def remove(name: str, dry_run: DryRun = False, data_dir: DataDir = None) -> None:
    """Take a capability out of the registry; calls to it fail from then on. A built-in capability can only be
    disabled."""
    from agents_sdk.core.registry import CapabilityManifest
    from backplane.manifests.publish import OWN

    settings = settings_of(data_dir)
    registered = read(settings)
    contract = known(registered.registry, name)
    if contract.source in OWN:
        hint = f"`backplane capabilities disable {name}` switches it off for good"
        raise CommandError("built_in", f"{name!r} would come back with the next executor that starts", hint)
    if dry_run:
        message(f"would remove {name} version {contract.version}")
        return
    at = registered.catalogue.following(CapabilityManifest, name, time.time_ns() // 1000)
    _registrar(settings, registered.catalogue).remove(CapabilityManifest, name, at)
    message(f"removed: {name} version {contract.version}")


def disable(
    target: Target,
    reason: Annotated[str, typer.Option("--reason", help="Why; each caller reads it in the error.")] = "",
    dry_run: DryRun = False,
    data_dir: DataDir = None,
) -> None:
    """Switch a capability off, or one of its providers, for the whole fleet, until it is enabled again."""
    _switch(target, "disabled", reason, dry_run, data_dir)


def pause(
    target: Annotated[str, typer.Argument(metavar="NAME", help="A capability.")],
    policy: Annotated[
        Policy, typer.Option("--policy", help="wait: calls are held until it is resumed, or their time is over.")
    ] = Policy.wait,
    reason: Annotated[str, typer.Option("--reason", help="Why; each caller reads it in the error.")] = "",
    dry_run: DryRun = False,
    data_dir: DataDir = None,
) -> None:
    """Pause a capability for the whole fleet: no provider of it is asked until it is resumed."""
    _switch(target, "paused", reason, dry_run, data_dir, policy.value)


def resume(
    target: Annotated[str, typer.Argument(metavar="NAME", help="A capability.")],
    dry_run: DryRun = False,
    data_dir: DataDir = None,
) -> None:
    """Go on with a capability that was paused; the calls that wait are made."""
    _switch(target, "enabled", "", dry_run, data_dir)


def enable(target: Target, dry_run: DryRun = False, data_dir: DataDir = None) -> None:
    """Switch a capability on again, or one of its providers."""
    _switch(target, "enabled", "", dry_run, data_dir)


def _switch(target: str, state: str, reason: str, dry_run: bool, data_dir: Path | None, policy: str = "") -> None:
    from agents_sdk.wire.registry import connect_codec
    from backplane.manifests.registry import UnknownCapability
    from backplane.manifests.switches import switch

    settings = settings_of(data_dir)
    codec = connect_codec(settings)
    try:
        before = switch(settings, codec, target, state, by="cli", policy=policy, reason=reason, dry_run=dry_run)
    except UnknownCapability as error:
        raise CommandError("not_found", error.message, error.hint) from error
    message(f"{target}: {before} → {state}{' (dry run)' if dry_run else ''}")


def try_out(
    name: str,
    provider: Annotated[str, typer.Option("--provider", help="Only this one; all, one after the other, else.")] = "",
    params_json: Annotated[
        str | None, typer.Option("--params-json", help="Instead of the manifest's example; - reads it from stdin.")
    ] = None,
    data_dir: DataDir = None,
    as_json: JsonFlag = False,
) -> None:
    """Ask a capability's providers for real, one attempt each, from this machine, and tell each step.

    The call is no part of any run and nothing of it is recorded; it costs what the provider takes for it. Exit codes:
    0 a provider gave a result that keeps the contract; 1 none did; 2 the params are wrong.
    """
    import asyncio

    from agents_sdk import settings_model
    from backplane.cli.call import gather
    from backplane.cli.capabilities import load
    from backplane.executor.trial import NoParams, Trial, first_params, unfit
    from backplane.manifests.egress import policy_of

    view = load(data_dir)
    contract = known(view.registry, name)
    names = [each.name for each in contract.capability.providers]
    if provider and provider not in names:
        raise CommandError("not_found", f"{name!r} has no provider {provider!r}", f"it has {', '.join(names)}")
    try:
        params = gather([], params_json, frozenset()) if params_json else first_params(contract)
    except NoParams as error:
        raise CommandError("usage", str(error), "give them with --params-json") from error
    misfit = unfit(contract, params)
    if misfit:
        raise CommandError("usage", misfit, f"see `backplane capabilities show {name}`")
    trial = Trial(contract, params, view.data_dir, policy_of(settings_model.load({"data_dir": view.data_dir})))
    wanted = [provider] if provider else names
    results = asyncio.run(trial.run(wanted, None if as_json else _print_step))
    if as_json:
        print_json({"capability": name, "version": contract.version, "params": params, "providers": results})
    if not any(each["ok"] for each in results):
        raise CommandError("failure", f"no provider of {name!r} gave a result", "each step above says why")


def _print_step(provider: str, step: str, outcome: str) -> None:
    print(f"{provider}\t{step}\t{outcome}", flush=True)


def known(registry: Registry, name: str) -> RegisteredCapability:
    """The capability of this name. Raises CommandError, with the names nearest to it."""
    from backplane.manifests.registry import UnknownCapability

    try:
        return registry.get(name)
    except UnknownCapability as error:
        raise CommandError("not_found", error.message, error.hint) from error


def read(settings: Settings) -> RegistryTopics:
    """The registry as it is now; what this release cannot read of it is left out, and said."""
    from agents_sdk.wire.registry import connect_codec
    from backplane.manifests import switches

    found = switches.read(settings, connect_codec(settings))
    for line in found.unreadable:
        message(line)
    return found


def _registrar(settings: Settings, catalogue: Catalogue) -> Registrar:
    from agents_sdk.wire.registry import connect_codec
    from backplane.manifests.switches import registrar_of

    return registrar_of(settings, connect_codec(settings), catalogue)


def settings_of(data_dir: Path | None) -> Any:
    """Of a platform. Raises NotConfigured."""
    from agents_sdk.settings import load_settings

    return load_settings(**({"data_dir": data_dir} if data_dir else {}))
