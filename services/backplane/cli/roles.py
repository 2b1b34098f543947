"""``backplane roles apply|show|diff|check``: who may do what, as a file says it and as the platform grants it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agents_sdk.core import kinds
from backplane.cli.keys import granted, office_at
from backplane.cli.output import CommandError, DataDir, ExitCode, JsonFlag, message, print_json, print_rows

if TYPE_CHECKING:
    from agents_sdk.core.commands import GrantBody
    from backplane.roles.office import Office
    from backplane.roles.plan import Change

HELP = """Say who may do what: apply, show, compare and check roles.

A file of roles names roles, and who has them; what a role does not name it does not allow:

    roles:
      researcher:
        hears: ["run.started"]
        reads: ["brief"]
        writes: ["findings"]
        capabilities: ["web_search"]
        publishes: ["search.*"]
        runs: {take_part: ["content"], control: ["content"]}
        budget: 1.00 USD
    agents:
      research_agent: ["researcher"]
    clients:
      dashboard: ["viewer"]

Roles add up. An agent may do what it declares and was granted; `operator` and `viewer` are built in."""

app = typer.Typer(add_completion=False, no_args_is_help=True, help=HELP)

File = Annotated[Path, typer.Argument(metavar="FILE", help="A file of roles, such as roles.yaml.")]


@app.callback()
def group() -> None:
    """Say who may do what."""


group.__doc__ = HELP


@app.command()
def apply(file: File = Path("roles.yaml"), data_dir: DataDir = None) -> None:
    """Grant what the file says, and withdraw what earlier files granted and it does not."""
    office = office_at(data_dir)
    changes = _changes(office, file)
    for change in changes:
        office.say((kinds.GRANT_RIGHTS, change.body))
        message(f"roles: {change.name}: {', '.join(change.lines)}")
    message(f"roles: {len(changes)} names changed" if changes else "roles: nothing to change")


@app.command()
def diff(file: File = Path("roles.yaml"), as_json: JsonFlag = False, data_dir: DataDir = None) -> None:
    """Show what `apply` would change. The exit code is 7 where it is something."""
    changes = _changes(office_at(data_dir), file)
    print_rows(("name", "change"), [(each.name, line) for each in changes for line in each.lines], as_json=as_json)
    if changes:
        raise typer.Exit(ExitCode.REFUSED)


@app.command()
def show(as_json: JsonFlag = False, data_dir: DataDir = None) -> None:
    """Show what every agent and client was granted, by whom, and what it asks for besides."""
    from agents_sdk.core.ledger.rules import RIGHTS

    rights = (*RIGHTS, "contracts")
    rows = [
        (
            each.name,
            "agent" if each.registered else "client",
            granted(each),
            each.grant.operator if each.grant is not None else "",
            *(" ".join(getattr(each.grant, right)) if each.grant is not None else "" for right in rights),
            ", ".join(each.missing),
        )
        for each in office_at(data_dir).standings()
    ]
    print_rows(("name", "is", "granted", "by", *rights, "not_granted"), rows, as_json=as_json)


@app.command()
def check(
    name: Annotated[str, typer.Argument(metavar="AGENT", help="An agent's or a client's name.")],
    action: Annotated[str, typer.Argument(metavar="ACTION", help="Such as `read`, and what about as the next word.")],
    about: Annotated[str, typer.Argument(metavar="NAME", help="A state key, capability, message or workflow.")] = "",
    file: Annotated[Path | None, typer.Option("--file", help="By this file, not by what the platform grants.")] = None,
    as_json: JsonFlag = False,
    data_dir: DataDir = None,
) -> None:
    """Say whether somebody may do something, and why: `backplane roles check research read secret`.

    Actions: read, write, call, publish, hear, start, take-part, control, apply. The exit code is 7 where it may not."""
    from backplane.roles.file import load
    from backplane.roles.plan import ACTIONS, may

    verb, _, rest = action.partition(" ")
    about = about or rest
    if verb not in ACTIONS or not about:
        raise CommandError("usage", f"no action {action!r}", f"use {', '.join(ACTIONS)}, and what about")
    if file is not None:
        grant = load(file).grants().get(name)
        answer = may(ACTIONS[verb], about, None, _as_client(grant))
    else:
        known = office_at(data_dir).standing(name)
        answer = may(ACTIONS[verb], about, known.declared if known else None, known.grant if known else None)
    if as_json:
        print_json({"agent": name, "action": verb, "about": about, "allowed": answer.allowed, "why": answer.why})
    else:
        print(f"{'yes' if answer.allowed else 'no'}: {answer.why}")
    if not answer.allowed:
        raise typer.Exit(ExitCode.REFUSED)


def _as_client(grant: GrantBody | None) -> GrantBody | None:
    """A file grants; what an agent declares is not in it."""
    import msgspec

    return msgspec.structs.replace(grant, client=True) if grant is not None else None


def _changes(office: Office, file: Path) -> list[Change]:
    from backplane.roles.file import load
    from backplane.roles.plan import changes

    grants = {each.name: each.grant for each in office.standings() if each.grant is not None}
    return changes(load(file), grants)
