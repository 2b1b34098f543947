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

from backplane.cli.output import message, report, silence_stdout
from backplane.cli.shown import Zone


class Entry(NamedTuple):
    """A command's line in the help, and its file where that has another name."""

    help: str
    """At most 60 characters, so that it has one line of 80 columns."""
    module: str = ""


RUN: Final = "Run it"
SEE: Final = "See it"
CHANGE: Final = "Change it"
OPERATE: Final = "Operate it"

GROUPS: Final[dict[str, dict[str, Entry]]] = {
    RUN: {
        "demo": Entry("See it all once: five agents publish an article.", "demo.command"),
        "up": Entry("Start the local platform."),
        "down": Entry("Stop the local platform; its data stays."),
        "agents": Entry("Run agents; manage their keys and what they ask for."),
        "start": Entry("Start a run."),
        "call": Entry("Call a capability and print its result."),
        "search": Entry("Find documents about a question."),
        "image": Entry("Make an image."),
        "video": Entry("Make a short video, from words or from images."),
        "publish": Entry("Publish a Markdown file as a web page."),
        "code": Entry("Run a Python snippet in a sandbox."),
        "analyze": Entry("Ask files in SQL: CSV, JSON lines, Parquet."),
    },
    SEE: {
        "status": Entry("Show each part of the platform: state, port, memory, lag."),
        "runs": Entry("List the runs, the newest first, and what they cost."),
        "run": Entry("Tell what happened in a run."),
        "explain": Entry("Tell why a run failed: first cause, cost, what to do."),
        "cost": Entry("Tell what a run cost, by agent, capability or provider."),
        "lineage": Entry("Tell what a value rests on, or what came of it."),
        "events": Entry("Show the facts as they lie in Kafka, as kcat would."),
        "artifacts": Entry("Show the files that calls made, and get them."),
        "memory": Entry("Read long-term memories."),
        "sql": Entry("Ask the store in SQL; it only reads."),
        "console": Entry("Open the console in a browser."),
        "logs": Entry("Show the log of a part."),
    },
    CHANGE: {
        "state": Entry("Read and write a run's shared state."),
        "cancel": Entry("End a run: stop its handlers, calls and child runs."),
        "resume": Entry("Go on from a run that failed or was cancelled."),
        "dlq": Entry("Show dead letters, put them back, or give them up."),
        "capabilities": Entry("Show, apply, switch and try what can be called."),
        "contracts": Entry("Apply, show and remove contracts of state and messages."),
        "roles": Entry("Say who may do what: apply, show, compare, check roles."),
        "access": Entry("Say who may use console, SQL and figures."),
        "files": Entry("Keep files by key, and get them back."),
    },
    OPERATE: {
        "doctor": Entry("Check this machine and the platform; say what to mend."),
        "config": Entry("Show the settings, and where each comes from."),
        "topics": Entry("Show topics; create and check them."),
        "schemas": Entry("Show schemas; register and compare them."),
        "analytics": Entry("The store's schema; filling it again from Kafka."),
        "reconcile": Entry("Compare the store with Kafka: every fact once, none lost."),
        "ledger": Entry("Bring a partition back that was put aside."),
        "replay": Entry("Decide a run again from its commands, and compare."),
        "otel": Entry("Export what happens as OpenTelemetry spans."),
    },
}
"""The commands, as ``backplane --help`` groups them; 12 a group at most."""
COMMANDS: Final[dict[str, Entry]] = {name: entry for group in GROUPS.values() for name, entry in group.items()}
RENAMED: Final = {"store": "files"}
"""Old name → new name. An old name works, with a hint, until 0.2."""


class LazyGroup(TyperGroup):
    """Commands by name from ``COMMANDS``."""

    # The contexts and commands below are typer's own copy of click's, which it does not export: hence Any.

    def list_commands(self, ctx: Any) -> list[str]:
        """All names, in the table's order."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> TyperCommand | None:
        """The part of a command that help and completion need, without importing it."""
        name = RENAMED.get(cmd_name, cmd_name)
        for title, group in GROUPS.items():
            if name in group:
                return TyperCommand(name, help=group[name].help, rich_help_panel=title)
        return None

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command itself, imported now."""
        name, stub, rest = super().resolve_command(ctx, args)
        if args and args[0] in RENAMED:
            message(f"hint: `backplane {args[0]}` is `backplane {RENAMED[args[0]]}` now; the old name goes with 0.2")
        return name, load(stub.name) if stub and stub.name else None, rest


def load(name: str) -> Any:
    """The command of this name in ``COMMANDS``, ready to be invoked."""
    module = importlib.import_module(f"backplane.cli.{COMMANDS[name].module or name}")
    found: typer.Typer | Callable[..., Any] = getattr(module, "app", None) or getattr(module, name)
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
    """Run one command line and return its exit code; errors are shown, never raised (but for ``--debug``)."""
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
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 -- the edge: any error is shown
        return report(error, as_json="--json" in own, debug=debug)


def main() -> None:
    """The console script."""
    from agents_sdk import core_dumps

    core_dumps.forbid()
    code = run(sys.argv[1:])
    # The interpreter remembers an interrupt that met an exec of text, as an import of a dataclass has it. Caught or
    # not, it would end by the signal and not by this code. The next exec forgets it.
    exec("")  # noqa: S102 — nothing is executed
    sys.exit(code)


if __name__ == "__main__":
    main()
