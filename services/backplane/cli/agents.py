"""``backplane agents``: run the agents of a module; ``keys`` has the commands about their keys and rights."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
import threading
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backplane.cli import keys
from backplane.cli.output import CommandError, DataDir, message
from backplane.runtime.import_path import admit, module_name

if TYPE_CHECKING:
    from agents_sdk.agent import Agent
    from agents_sdk.local import OpenLocalCalls

log = logging.getLogger("backplane.agents")

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Run agents, and say whose commands are taken.")


@app.callback()
def group() -> None:
    """Run agents, and say whose commands are taken."""


app.command()(keys.issue)
app.command()(keys.rotate)
app.command()(keys.revoke)
app.command()(keys.remove)
app.command()(keys.approve)
app.command()(keys.status)
app.command(name="list")(keys.list_agents)

Local = Annotated[
    list[str] | None,
    typer.Option(
        "--local", metavar="CAPABILITY", help="Call it in this process, if it is a Python function; repeatable."
    ),
]


@app.command()
def run(
    module: Annotated[str, typer.Argument(metavar="MODULE", help="A module (pkg.mod) or a file (agents.py).")],
    agent: Annotated[list[str] | None, typer.Option("--agent", help="Only the agent of this name; repeatable.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Runs each agent works on at a time.")] = 64,
    instance: Annotated[
        str,
        typer.Option(
            help="A name kept over restarts: a killed process gets its work back at once. By default one that is kept "
            "in the data directory."
        ),
    ] = "",
    local: Local = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Grant the agents whatever they declare; takes the master key.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Run the agents of a module until Ctrl-C or SIGTERM. Several processes share the work of an agent."""
    from agents_sdk.instance import kept_instance
    from agents_sdk.runner import AgentsRunner, run_until_signalled
    from agents_sdk.settings import data_dir as home
    from agents_sdk.settings import load_settings

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    agents = select(find_agents(load(module)), agent or [], module)
    overrides = {"data_dir": data_dir} if data_dir else {}
    runner = AgentsRunner(
        agents,
        partial(load_settings, **overrides),
        concurrency=concurrency,
        instance=instance or kept_instance(home(data_dir), [one.name for one in agents]),
        local=_local_calls(local) if local else None,
        trust=trust,
    )
    run_until_signalled(runner, lambda: _ready([one.name for one in runner.agents], overrides))


def _ready(names: list[str], overrides: dict[str, Any]) -> None:
    """From now on the process holds keys and values: they are for no other process to read."""
    from agents_sdk import core_dumps

    core_dumps.forbid(wholly=True)
    message(f"agents: ready: {', '.join(names)}")
    threading.Thread(target=_users, args=(names, overrides), name="bp-users", daemon=True).start()


def _users(names: list[str], overrides: dict[str, Any]) -> None:
    """Where this process may make users of Kafka, as on a local platform, each agent becomes one. From then on its key
    opens Kafka, wherever it is used."""
    from agents_sdk.errors import BackplaneError
    from agents_sdk.settings import load_settings
    from backplane.topics import admission

    try:
        admission.admit_new(load_settings(**overrides), names)
    except (BackplaneError, ValueError) as error:
        log.warning("agents that have no login of Kafka of their own: %s", error)


def _local_calls(names: list[str]) -> OpenLocalCalls:
    from backplane.executor.local import local_calls  # only here: it brings all that executors need

    return local_calls(names)


def load(name: str) -> ModuleType:
    """The module or file of this name, with the working directory importable as with ``python -m``.

    Raises:
        CommandError: there is none, or a module it imports is missing.
    """
    if name.endswith(".py"):
        return _load_file(Path(name))
    admit(Path.cwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            hint = "name a module as in `import`, or a file ending in .py"
            raise CommandError("not_found", f"no module {name!r}", hint) from error
        raise CommandError("failure", f"module {name!r} cannot be imported: {error}") from error


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise CommandError("not_found", f"no file {str(path)!r}", "name a module as in `import`, or a file")
    admit(path.parent.absolute())
    name = module_name(path)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # as an import would: dataclasses and pydantic look their module up by name
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def find_agents(module: ModuleType) -> list[Agent]:
    """The agents among a module's names, and in its lists and tuples of agents, each once, in order."""
    from agents_sdk.agent import Agent

    found: dict[int, Agent] = {}
    values: list[Any] = list(vars(module).values())
    for value in values:
        for item in value if isinstance(value, list | tuple) else (value,):
            if isinstance(item, Agent):
                found[id(item)] = item
    return list(found.values())


def select(agents: list[Agent], names: list[str], module: str) -> list[Agent]:
    """The agents of these names, all without names.

    Raises:
        CommandError: there are none, or not that one.
    """
    if not agents:
        raise CommandError("not_found", f"no agents in {module!r}", "an agent is a global: research = Agent(…)")
    known = {agent.name: agent for agent in agents}
    for name in names:
        if name not in known:
            raise CommandError("not_found", f"no agent {name!r} in {module!r}", f"there are {', '.join(known)}")
    return [known[name] for name in dict.fromkeys(names)] if names else agents
