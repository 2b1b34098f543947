"""``backplane agents issue|rotate|revoke|remove|approve|list|status``: whose commands are taken, by which key, and what
each name may do."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from agents_sdk.core import kinds
from backplane.cli.output import CommandError, DataDir, JsonFlag, message, print_json, print_rows
from backplane.cli.shown import when

if TYPE_CHECKING:
    from agents_sdk.core.roster import IdentityStatus
    from backplane.roles.office import Office

GRACE_S: Final = 3_600.0

Name = Annotated[str, typer.Argument(metavar="NAME", help="An agent's or a client's name.")]
Out = Annotated[
    Path | None, typer.Option("--out", help="Write the key to this file; default: the platform's folder of keys.")
]
"""The key file is taken by ``identity.key_file`` where the agent runs."""
RolesPath = Annotated[
    Path, typer.Option("--file", help="Where roles are defined; `operator` and `viewer` are built in.")
]
ROLES_FILE: Final = Path("roles.yaml")


def issue(
    name: Name,
    out: Out = None,
    role: Annotated[
        list[str] | None, typer.Option("--role", help="A role that the name has from now on; repeatable.")
    ] = None,
    file: RolesPath = ROLES_FILE,
    client: Annotated[
        bool | None,
        typer.Option("--client/--agent", help="It declares nothing; default: a client where the role is built in."),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Write the key of an agent or client to a file, for a process that cannot read the master key.

    A key alone allows nothing: give it a role, or apply a file with `backplane roles apply`."""
    from agents_sdk.core.identity import first_generation, reserved
    from backplane.roles.file import BUILT_IN, RolesFile, load

    office = office_at(data_dir)
    known = None if reserved(name) else office.standing(name)
    generation = known.key.generation + known.key.revoked if known else first_generation(name)
    body = None
    if role:
        roles = load(file) if file.exists() or file != ROLES_FILE else RolesFile()
        body = roles.granted(name, role, client=all(each in BUILT_IN for each in role) if client is None else client)
        office.say((kinds.GRANT_RIGHTS, body))
        message(f"agents: {name!r} has the rights of {', '.join(role)}")
    _give(office, name, generation, 0.0, out)
    if body is None and not reserved(name) and (known is None or known.grant is None):
        message(f"agents: nothing is granted to {name!r} yet; see `backplane agents issue --help`")


def rotate(
    name: Name,
    grace_seconds: Annotated[float, typer.Option(min=0, help="How long the old key stays valid.")] = GRACE_S,
    out: Out = None,
    data_dir: DataDir = None,
) -> None:
    """Give an agent or client a new key; the old one stays valid for a while."""
    office = office_at(data_dir)
    known = office.standing(name)
    _give(office, name, (known.key.generation if known else 1) + 1, grace_seconds, out)


def revoke(name: Name, data_dir: DataDir = None) -> None:
    """Refuse all commands by the present key, and the one before; ``issue`` gives the next one."""
    from agents_sdk.core.commands import KeyBody

    office = office_at(data_dir)
    office.master()
    known = office.standing(name)
    generation = known.key.generation if known else 1
    office.say((kinds.REVOKE_KEY, KeyBody(name=name, generation=generation)))
    _shut_out(office, name)
    message(f"agents: generation {generation} of {name!r} is revoked")


def remove(name: Name, data_dir: DataDir = None) -> None:
    """Take an agent that does not come back off the register: what waits for it becomes dead letters, runs go on.

    While it is away it may do nothing. An agent that is started again registers itself again, and has the rights it was
    granted before, no more. Its key stays valid: see ``revoke``. Its login of a local platform's Kafka ends; ``issue``
    gives it again."""
    from agents_sdk.core.commands import RegistrationBody

    office = office_at(data_dir)
    known = office.standing(name)
    if known is None or not known.registered:
        raise CommandError("unknown_agent", f"no agent is registered as {name!r}", "`backplane agents list`")
    office.say((kinds.REMOVE_AGENT, RegistrationBody(name=name)))
    _shut_out(office, name)
    message(f"agents: {name!r} is removed; what waited for it is in `backplane dlq list`")


def approve(name: Name, data_dir: DataDir = None) -> None:
    """Grant an agent what it declares, besides what it was granted before."""
    granted = office_at(data_dir).approve(name)
    if granted:
        message(f"agents: granted to {name!r}: {', '.join(granted)}")
    else:
        message(f"agents: {name!r} was granted all that it declares")


def list_agents(as_json: JsonFlag = False, data_dir: DataDir = None) -> None:
    """List the senders: registered or not, the key's generation and state, granted rights and wishes beyond. It also
    shows their refused commands."""
    now = int(time.time() * 1_000_000)
    rows = [
        (
            each.name,
            "agent" if each.registered else "client",
            each.key.generation,
            each.state(now),
            when(each.key.previous_ends_at) if each.key.previous_ends_at > now else "",
            granted(each),
            ", ".join(each.missing),
            ", ".join(f"{code} {count}" for code, count in sorted(each.refused.items())),
        )
        for each in office_at(data_dir).standings()
    ]
    columns = ("name", "is", "generation", "key", "previous_until", "granted", "not_granted", "refused")
    print_rows(columns, rows, as_json=as_json)


def granted(each: IdentityStatus) -> str:
    """The grants of a name, in a word: its roles, or their author."""
    if each.grant is None:
        return "nothing"
    return ", ".join(each.grant.roles) or each.grant.operator or "granted"


def status(name: Name, as_json: JsonFlag = False, data_dir: DataDir = None) -> None:
    """Show what one agent or client declares, what it was granted and by whom, and what it asks for besides."""
    from agents_sdk.core.ledger.rules import RIGHTS, declared

    each = office_at(data_dir).standing(name)
    if each is None:
        raise CommandError("unknown_agent", f"nobody here is called {name!r}", "`backplane agents list`")
    rows = [
        (
            right,
            " ".join(declared(each.declared, right)) if each.declared is not None else "",
            " ".join(getattr(each.grant, right)) if each.grant is not None else "",
            " ".join(one.removeprefix(f"{right} ") for one in each.missing if one.startswith(f"{right} ")),
        )
        for right in (*RIGHTS, "contracts")
    ]
    if as_json:
        rights = [dict(zip(("right", "declared", "granted", "not_granted"), row, strict=True)) for row in rows]
        by = each.grant.operator if each.grant is not None else ""
        print_json({"name": name, "registered": each.registered, "granted": granted(each), "by": by, "rights": rights})
        return
    print_rows(("right", "declared", "granted", "not_granted"), rows)
    message(f"agents: {name!r} is {'registered' if each.registered else 'not registered'}; granted: {granted(each)}")
    if each.missing:
        message(f"agents: `backplane agents approve {name}` grants {', '.join(each.missing)}")


def office_at(data_dir: Path | None) -> Office:
    """The office of the platform that the settings name."""
    from agents_sdk.settings import load_settings
    from agents_sdk.wire.registry import connect_codec
    from backplane.roles.office import Office

    settings = load_settings(**({"data_dir": data_dir} if data_dir else {}))
    return Office(settings, connect_codec(settings))


def _shut_out(office: Office, name: str) -> None:
    """Where the platform's Kafka is ours, it lets nobody in by this name."""
    from backplane.topics import admission

    if admission.ours(office.settings):
        admission.dismiss(office.settings, name)


def _give(office: Office, name: str, generation: int, grace_s: float, out: Path | None) -> None:
    """The ledger hears of the key before anybody can use it."""
    from agents_sdk.core.commands import KeyBody
    from agents_sdk.core.identity import reserved
    from agents_sdk.keys import file_name, issued, write
    from backplane.topics import admission

    folder = office.settings.identity.keys_dir
    if out is None and folder is None:
        raise CommandError("usage", "where is the key to go?", "name a file with --out, or set identity.keys_dir")
    path = out or (folder or Path()) / file_name(name)
    master = office.master()
    if not reserved(name):  # the platform's own parts have one generation
        office.say((kinds.ISSUE_KEY, KeyBody(name=name, generation=generation, grace_ms=round(grace_s * 1000))))
    key = issued(master, name, generation)
    if admission.ours(office.settings) and not reserved(name):
        try:
            admission.admit(office.settings, key, alone=grace_s <= 0)
        except ValueError as error:
            message(f"agents: {name!r} has no login of Kafka of its own: {error}")
    write(path, key)
    message(f"agents: generation {generation} of {name!r} is valid; its key is in {path}")
