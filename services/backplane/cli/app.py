"""Entry of the command ``backplane``, and the table of its commands.

``backplane --help`` is printed from the table alone; a command's module is imported when that command runs. To add a
command or a group: one line in ``COMMANDS`` and a module with a function, or with a ``typer.Typer``, of that name.
"""

from __future__ import annotations

import importlib
import io
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from backplane.cli.output import report, silence_stdout
from backplane.cli.shown import Zone


class Entry(NamedTuple):
    """Where a command is, and its line in the help."""

    module: str
    attribute: str
    """A function: one command. A ``typer.Typer``: a group of commands."""
    help: str


COMMANDS: Final[dict[str, Entry]] = {
    "demo": Entry("backplane.cli.demo.command", "demo", "See it all once: five agents publish an article."),
    "up": Entry("backplane.cli.platform", "up", "Start the local platform: Kafka, registry, store and our services."),
    "down": Entry("backplane.cli.platform", "down", "Stop the local platform; its data stays."),
    "status": Entry("backplane.cli.platform", "status", "Show each part of the platform: state, port, memory, lag."),
    "logs": Entry("backplane.cli.platform", "logs", "Show the log of a part."),
    "doctor": Entry("backplane.cli.doctor", "doctor", "Check this machine and the platform, and say what to mend."),
    "topics": Entry("backplane.cli.topics", "app", "Show topics; create and check them."),
    "schemas": Entry("backplane.cli.schemas", "app", "Show schemas; register and compare them."),
    "contracts": Entry("backplane.cli.contracts", "app", "Apply, show and remove contracts of state and messages."),
    "agents": Entry(
        "backplane.cli.agents", "app", "Run agents; issue and revoke their keys, approve what they ask for."
    ),
    "roles": Entry("backplane.cli.roles", "app", "Say who may do what: apply, show, compare and check roles."),
    "access": Entry("backplane.cli.access", "app", "Say who may use console, SQL and figures."),
    "start": Entry("backplane.cli.state", "start", "Start a run."),
    "cancel": Entry("backplane.cli.ending", "cancel", "End a run: stop its handlers, calls and child runs."),
    "resume": Entry("backplane.cli.ending", "resume", "Go on from a run that failed or was cancelled."),
    "state": Entry("backplane.cli.state", "app", "Read and write a run's shared state."),
    "memory": Entry("backplane.cli.memory", "app", "Read long-term memories."),
    "runs": Entry("backplane.cli.insight", "runs", "List the runs, the newest first: how they ended, what they cost."),
    "run": Entry("backplane.cli.insight", "run", "Tell what happened in a run."),
    "cost": Entry("backplane.cli.insight", "cost", "Tell what a run cost, by agent, capability or provider."),
    "lineage": Entry("backplane.cli.lineage", "lineage", "Tell what a value or message rests on, or what came of it."),
    "explain": Entry(
        "backplane.cli.explain", "explain", "Tell why a run failed: first cause, spread, cost, what to do."
    ),
    "events": Entry("backplane.cli.events", "app", "Show the facts as they lie in Kafka, as kcat would."),
    "reconcile": Entry(
        "backplane.cli.books", "reconcile", "Hold the store against Kafka: every fact once, none missing."
    ),
    "ledger": Entry("backplane.cli.ledger", "app", "Bring a partition back that was put aside."),
    "dlq": Entry("backplane.cli.dlq", "app", "Show dead letters, put them back, or give them up."),
    "replay": Entry("backplane.cli.replay", "replay", "Decide a run again from its commands, and compare."),
    "console": Entry("backplane.cli.console", "console", "Open the console in a browser."),
    "sql": Entry("backplane.cli.insight", "sql", "Ask the store in SQL; it only reads."),
    "otel": Entry("backplane.cli.otel", "otel", "Export what happens as OpenTelemetry spans."),
    "analytics": Entry("backplane.cli.analytics", "app", "The store's schema; filling it anew from Kafka."),
    "call": Entry("backplane.cli.call", "call", "Call a capability and print its result."),
    "search": Entry("backplane.cli.search", "search", "Find documents about a question."),
    "image": Entry("backplane.cli.media", "image", "Make an image."),
    "video": Entry("backplane.cli.media", "video", "Make a short video, from words or from images."),
    "store": Entry("backplane.cli.store", "app", "Keep files by key, and get them back."),
    "publish": Entry("backplane.cli.publish", "publish", "Publish a Markdown file as a web page."),
    "code": Entry("backplane.cli.code", "code", "Run a Python snippet in a sandbox."),
    "analyze": Entry("backplane.cli.analyze", "analyze", "Ask files in SQL: CSV, JSON lines, Parquet."),
    "artifacts": Entry("backplane.cli.artifacts", "app", "Show the files that calls made, and get them."),
    "capabilities": Entry("backplane.cli.capabilities", "app", "Show, apply, switch and try what can be called."),
    "config": Entry("backplane.cli.config", "app", "Show the settings, and where each comes from."),
}


class LazyGroup(TyperGroup):
    """Commands by name from ``COMMANDS``."""

    # The contexts and commands below are typer's own copy of click's, which it does not export: hence Any.

    def list_commands(self, ctx: Any) -> list[str]:
        """All names, in the table's order."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> TyperCommand | None:
        """What help and completion need of a command, without importing it."""
        entry = COMMANDS.get(cmd_name)
        return TyperCommand(cmd_name, help=entry.help) if entry else None

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command itself, imported now."""
        name, stub, rest = super().resolve_command(ctx, args)
        return name, load(stub.name) if stub and stub.name else None, rest


def load(name: str) -> Any:
    """The command of this name in ``COMMANDS``, ready to be invoked."""
    entry = COMMANDS[name]
    found: typer.Typer | Callable[..., Any] = getattr(importlib.import_module(entry.module), entry.attribute)
    if not isinstance(found, typer.Typer):
        single = typer.Typer(add_completion=False)
        single.command(name)(found)
        found = single
    command = typer.main.get_command(found)
    command.name = name
    return command


app = typer.Typer(
    name="backplane",
    cls=LazyGroup,
    help="Orchestration for multi-agent systems, on Kafka.",
    context_settings={"help_option_names": ["-h", "--help"]},
    invoke_without_command=True,
)


@app.callback()
def root(
    ctx: typer.Context,
    version: bool = typer.Option(False, "--version", help="Print the version and end."),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks; may stand anywhere in the line."),
    utc: bool = typer.Option(False, "--utc", help="Show times in UTC; may stand anywhere in the line."),
) -> None:
    """Options of every command."""
    if version:
        from importlib.metadata import version as version_of

        print(version_of("agent-backplane"))
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        print(ctx.get_help())


def run(argv: Sequence[str]) -> int:
    """Run one command line and return its exit code; errors are told, never raised (but for ``--debug``)."""
    arguments = list(argv)
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    debug, Zone.utc = "--debug" in own, "--utc" in own
    for name in ("--debug", "--utc"):
        if name in own:
            arguments.remove(name)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # text may hold what this terminal cannot show
    try:
        code = typer.main.get_command(app).main(arguments, prog_name="backplane", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except BrokenPipeError:
        silence_stdout()
        return 141  # 128 + SIGPIPE, as every program that writes into `head`
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 -- the edge: whatever it is, it is told
        return report(error, as_json="--json" in own, debug=debug)


def main() -> None:
    """The console script."""
    from agents_sdk import core_dumps

    core_dumps.forbid()
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
