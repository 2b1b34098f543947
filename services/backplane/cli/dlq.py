"""``backplane dlq``: what could not be handled, why, and how it is put back."""

# long because: a command of the command line has each of its options in its signature

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from backplane.cli.output import CommandError, DataDir, ExitCode, JsonFlag, message, print_json, print_rows
from backplane.cli.run_name import named_run
from backplane.cli.shown import when

if TYPE_CHECKING:
    from agents_sdk.settings import Settings
    from agents_sdk.wire.codec import Codec
    from backplane.dlq.letters import Letter

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Show dead letters, put them back, or give them up.")

Cause = Annotated[str, typer.Option(help="Only of this cause: handler_failed, expired, outage, auth, undecodable…")]
Topic = Annotated[str, typer.Option(help="Only of this topic, e.g. bp.commands or bp.inbox.AGENT.")]
Run = Annotated[str, typer.Option(help="Only of this run: its id, its first characters, or `last`.")]
NEWEST: Final = 1_000
Newest = Annotated[int, typer.Option(min=1, help="Look through so many records of each partition, the newest ones.")]
COLUMNS: Final = ("id", "at", "cause", "topic", "agent", "name", "run", "attempts", "error", "message", "said_by")


@app.callback()
def group() -> None:
    """Show dead letters, put them back, or give them up."""


@app.command(name="list")
def list_letters(
    by: Annotated[str, typer.Option(help="Count them by cause, topic, agent, run or error instead.")] = "",
    cause: Cause = "",
    topic: Topic = "",
    run: Run = "",
    newest: Newest = NEWEST,
    as_json: JsonFlag = False,
    data_dir: DataDir = None,
) -> None:
    """List the dead letters that were not redriven, the oldest of each topic first."""
    from backplane.dlq.letters import chosen, grouped
    from backplane.dlq.log import read_letters

    _known(by)
    read = read_letters(*_reading(data_dir), newest)
    found = chosen(read.letters, cause=cause, topic=topic, run=named_run(run, data_dir))
    if by:
        print_rows((by, "letters"), grouped(found, by), as_json=as_json)
    else:
        print_rows(COLUMNS, map(_row, found), as_json=as_json, narrow=("id", "cause", "agent", "error"))
    message(f"dead letters: {len(found)}")
    if read.older:
        message(f"not looked at: {read.older} records older than the newest {newest} of their partitions; see --newest")


@app.command()
def show(
    letter: Annotated[str, typer.Argument(metavar="ID", help="As `list` shows it, e.g. bp.inbox/2/17.")],
    data_dir: DataDir = None,
) -> None:
    """Show all of one dead letter, as JSON: what it is, why it died, its headers. The exit code is 3 where there is
    none, or it was redriven."""
    import msgspec

    (one,) = _named([letter], *_reading(data_dir))
    print_json(
        {
            **dict(zip(COLUMNS, _row(one), strict=True)),
            "not_redrivable": one.not_redrivable(),
            "parked": one.parked,
            "difference": one.difference or None,
            "redrives": one.about.redrive_count,
            "group": one.about.group,
            "stage": one.about.stage,
            "stacktrace": one.about.stacktrace,
            "record": msgspec.to_builtins(one.record) if one.record is not None else None,
            "value_hex": None if one.record is not None or one.raw.value is None else one.raw.value.hex(),
            "headers": {name: _readable(value) for name, value in one.raw.headers},
        }
    )


@app.command()
def redrive(
    letters: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Only these.")] = None,
    by: Annotated[
        str, typer.Option(help="Tell how many by cause, topic, agent, run or error; alone: all there are.")
    ] = "",
    cause: Cause = "",
    topic: Topic = "",
    run: Run = "",
    limit: Annotated[int, typer.Option("--max", min=1, help="At most so many.")] = 100,
    rate: Annotated[float, typer.Option(min=0.01, help="At most so many a second.")] = 10.0,
    newest: Newest = NEWEST,
    restart: Annotated[
        bool,
        typer.Option("--restart", help="Begin parked deliveries from nothing; refused where effects repeat."),
    ] = False,
    repeat_effects: Annotated[
        bool,
        typer.Option("--repeat-effects", help="With --restart: messages, children and unsafe calls may repeat."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be put back, and change nothing.")] = False,
    as_json: JsonFlag = False,
    data_dir: DataDir = None,
) -> None:
    """Put dead letters back: a message in its agent's inbox, with attempts again; a failed call as a new call. Calls
    come one after the other; any other record returns to its topic. A parked delivery goes on with what is recorded,
    by an agent that was corrected; with --restart it begins from nothing. The exit code is 7 where one was refused,
    because the run of a message has ended for instance."""
    from backplane.cli.client import connected
    from backplane.dlq.letters import grouped
    from backplane.dlq.redrive import Manner, paced
    from backplane.dlq.redrive import redrive as put_back

    if not (letters or by or cause or topic or run):
        raise CommandError("usage", "which letters?", "name some, or use --cause, --topic or --run; --by cause: all")
    if repeat_effects and not restart:
        raise CommandError("usage", "--repeat-effects is about a restart", "use it with --restart")
    _known(by)
    settings, wanted = _wanted(letters, newest, data_dir, cause=cause, topic=topic, run=run, limit=limit)
    with connected(data_dir) as backplane:
        manner = Manner(restart=restart, repeat_effects=repeat_effects)
        outcomes = list(put_back(backplane, settings, wanted, dry_run=dry_run, pace=paced(rate), manner=manner))
    if by:
        kinds = sorted({one.done for one in outcomes})
        done = {kind: [one.letter for one in outcomes if one.done == kind] for kind in kinds}
        counted = [(group, kind, count) for kind, each in done.items() for group, count in grouped(each, by)]
        print_rows((by, "done", "letters"), counted, as_json=as_json)
    else:
        rows = [(o.letter.id, o.done, o.letter.cause, o.letter.agent, o.letter.run, o.why) for o in outcomes]
        print_rows(("id", "done", "cause", "agent", "run", "why"), rows, as_json=as_json)
    refused = sum(one.done == "refused" for one in outcomes)
    verb = "to be redriven" if dry_run else "redriven"
    message(f"dead letters: {len(outcomes) - refused} {verb}, {refused} refused")
    if refused:
        raise typer.Exit(ExitCode.REFUSED)


@app.command()
def discard(
    letters: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Only these.")] = None,
    reason: Annotated[str, typer.Option(help="Why; it stays on record.")] = "",
    newest: Newest = NEWEST,
    cause: Cause = "",
    topic: Topic = "",
    run: Run = "",
    limit: Annotated[int, typer.Option("--max", min=1, help="At most so many.")] = 100,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be given up, and change nothing.")] = False,
    as_json: JsonFlag = False,
    data_dir: DataDir = None,
) -> None:
    """Give dead letters up: they are listed no more, and the reason is a fact. Nothing is deleted. A parked delivery
    fails instead: it is dead then, and its supervisor hears of it, or its run fails. The exit code is 7 where one was
    refused."""
    from backplane.cli.client import connected
    from backplane.dlq.redrive import Outcome
    from backplane.dlq.redrive import discard as give_up

    if not (letters or cause or topic or run):
        raise CommandError("usage", "which letters?", "name some, or use --cause, --topic or --run")
    if not reason.strip():
        raise CommandError("usage", "why are they given up?", "say it with --reason; it stays on record")
    settings, wanted = _wanted(letters, newest, data_dir, cause=cause, topic=topic, run=run, limit=limit)
    if dry_run:
        outcomes = [Outcome(letter, "would be") for letter in wanted]
    else:
        with connected(data_dir) as backplane:
            outcomes = list(give_up(backplane, settings, wanted, reason))
    rows = [(o.letter.id, o.done, o.letter.cause, o.letter.agent, o.letter.run, o.why) for o in outcomes]
    print_rows(("id", "done", "cause", "agent", "run", "why"), rows, as_json=as_json)
    refused = sum(one.done == "refused" for one in outcomes)
    message(f"dead letters: {len(outcomes) - refused} {'to be ' if dry_run else ''}discarded, {refused} refused")
    if refused:
        raise typer.Exit(ExitCode.REFUSED)


@app.command()
def fail(
    letters: Annotated[list[str], typer.Argument(metavar="ID...", help="Parked deliveries.")],
    reason: Annotated[str, typer.Option(help="Why; it stays on record.")] = "",
    as_json: JsonFlag = False,
    data_dir: DataDir = None,
) -> None:
    """Fail parked deliveries: each is a dead letter then, and its supervisor hears of it, or its run fails. The exit
    code is 7 where one was refused, because it is not parked for instance."""
    from backplane.cli.client import connected
    from backplane.dlq.redrive import Outcome
    from backplane.dlq.redrive import discard as give_up

    if not reason.strip():
        raise CommandError("usage", "why do they fail?", "say it with --reason; it stays on record")
    settings, codec = _reading(data_dir)
    wanted = _named(letters, settings, codec)
    outcomes = [Outcome(one, "refused", "it is not parked; see `discard`") for one in wanted if not one.parked]
    with connected(data_dir) as backplane:
        outcomes += give_up(backplane, settings, [one for one in wanted if one.parked], reason)
    rows = [(o.letter.id, o.done, o.letter.cause, o.letter.agent, o.letter.run, o.why) for o in outcomes]
    print_rows(("id", "done", "cause", "agent", "run", "why"), rows, as_json=as_json)
    if any(one.done == "refused" for one in outcomes):
        raise typer.Exit(ExitCode.REFUSED)


def _known(by: str) -> None:
    from backplane.dlq.letters import GROUPS

    if by and by not in GROUPS:
        raise CommandError("usage", f"cannot count by {by!r}", f"use one of {', '.join(GROUPS)}")


def _reading(data_dir: Path | None) -> tuple[Settings, Codec]:
    from agents_sdk.settings import load_settings
    from agents_sdk.wire.registry import connect_codec

    settings = load_settings(**({"data_dir": data_dir} if data_dir else {}))
    return settings, connect_codec(settings)


def _wanted(
    names: list[str] | None, newest: int, data_dir: Path | None, *, cause: str, topic: str, run: str, limit: int
) -> tuple[Settings, list[Letter]]:
    """The letters named, else the first ``limit`` that fit, whole."""
    from backplane.dlq.letters import chosen
    from backplane.dlq.log import read_letters, read_named

    settings, codec = _reading(data_dir)
    found = _named(names, settings, codec) if names else read_letters(settings, codec, newest).letters
    wanted = chosen(found, cause=cause, topic=topic, run=named_run(run, data_dir))[:limit]
    if any(letter.cut for letter in wanted):
        wanted = read_named(settings, codec, [letter.id for letter in wanted])
    return settings, wanted


def _named(names: list[str], settings: Settings, codec: Codec) -> list[Letter]:
    from backplane.dlq.log import read_named

    found = read_named(settings, codec, names)
    there = {letter.id for letter in found}
    missing = [name for name in names if name not in there]
    if missing:
        hint = "`backplane dlq list` shows those there are; one that was redriven is none any more"
        raise CommandError("not_found", f"no dead letter {missing[0]!r}", hint)
    return found


def _row(letter: Letter) -> tuple[Any, ...]:
    at = when(letter.raw.at_ms * 1000, fraction=True)
    about = letter.about
    return (
        letter.id, at, letter.cause, about.topic, letter.agent, letter.name, letter.run, about.delivery_count or None,
        about.exception_class, letter.message, about.said_by,
    )  # fmt: skip


def _readable(value: bytes | str | None) -> str | None:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
