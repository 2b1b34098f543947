"""The parts of the platform: a table, with what each stands on and how it is started.

``format`` and ``kafka`` ∥ ``registry``, then ``topics`` (creates topics, registers schemas), then ``sink``, ``ledger``
and ``executor``. ``console`` comes after the sink; ``training`` makes the start-up archives of the next start, at the
lowest priority.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

from agents_sdk.core.identity import EXECUTOR, LEDGER, OPERATOR, SINK
from agents_sdk.kafka_login import named
from agents_sdk.keys import MASTER, UNPROVEN
from backplane.platform import java, kafka, probes, registry
from backplane.platform.artifacts import Jars
from backplane.platform.errors import PlatformError, UnknownPart
from backplane.platform.layout import Layout
from backplane.platform.policy import Node
from backplane.platform.ports import LOOPBACK

NO_NEEDS: Final = Node()
SPARE: Final = "BACKPLANE_SPARE"
"""In the environment of a spare process, which waits for a byte on its stdin: ``backplane.runtime.spare``."""
Probe = Callable[[int], Awaitable[bool]]


@dataclass(frozen=True)
class Site:
    """Facts that a part may ask for at its start."""

    layout: Layout
    ports: Mapping[str, int]
    heap: java.Heap
    jars: Jars
    cache: Path
    trust: bool = False
    """Every declaration of an agent is granted."""
    users: bool = True
    """Kafka asks who is there."""

    def settings(self) -> dict[str, dict[str, str]]:
        """The addresses this platform offers, as sections of the settings."""
        found = {}
        if "kafka" in self.ports:
            login = named(OPERATOR) if self.users else {}
            found["kafka"] = {"bootstrap.servers": f"{LOOPBACK}:{self.ports['kafka']}", **login}
        if "registry" in self.ports:
            found["registry"] = {"url": registry.url(self.ports["registry"]), "username": OPERATOR}
        if "sink" in self.ports:
            found["clickhouse"] = {"url": f"http://{LOOPBACK}:{self.ports['sink']}"}
        if "kafka" in self.ports:
            keys = self.layout.keys
            declarations = "all" if self.trust else "first"
            found["identity"] = {
                "keys_dir": str(keys),
                "master_file": str(keys / MASTER),
                "unproven_file": str(keys / UNPROVEN),
                "declarations": declarations,
            }
        return found


@dataclass(frozen=True)
class Launch:
    """A command line and what to add to the environment."""

    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """One row of the table."""

    name: str
    launch: Callable[[Site], Launch | None]
    """How to start it; None: there is nothing to do."""
    node: Node = NO_NEEDS
    ports: tuple[str, ...] = ()
    """The ports it listens on, the one it is asked at first."""
    ready: Probe | None = None
    """Asked until it says yes; a task has none."""
    worker: bool = False
    """It may run more than once."""
    nice: int = 0
    spare: bool = False
    """A second process of it waits to take its place, see ``backplane.runtime.spare``."""
    probe: Callable[[Site], Probe] | None = None
    """In place of ``ready``, where what is asked depends on the site."""


def _format(site: Site) -> Launch | None:
    folder = site.layout.store("kafka")
    users = site.layout.kafka_users() if site.users else {}
    config = kafka.write_config(folder, site.ports["kafka"], site.ports["kafka-controller"], users)
    if kafka.formatted(folder):
        return None
    aot = java.archive(site.cache, "kafka", site.jars.key, site.heap)
    program = kafka.format_program(site.jars.kafka, config)
    return Launch(java.command(program, site.heap, site.heap.kafka_mb, aot))


def _kafka(site: Site) -> Launch:
    config = site.layout.store("kafka") / "server.properties"
    aot = java.archive(site.cache, "kafka", site.jars.key, site.heap)
    return Launch(java.command(kafka.program(site.jars.kafka, config), site.heap, site.heap.kafka_mb, aot))


def _registry(site: Site) -> Launch:
    folder = site.layout.store("registry")
    folder.mkdir(parents=True, exist_ok=True)
    aot = java.archive(site.cache, "registry", site.jars.key, site.heap)
    program = registry.program(site.jars.registry)
    users = registry.write_users(folder, site.layout.registry_users())
    env = registry.environment(folder, site.ports["registry"], users)
    return Launch(java.command(program, site.heap, site.heap.registry_mb, aot), env)


def _topics(site: Site) -> Launch:
    return Launch([sys.executable, "-P", "-m", "backplane.platform.contracts"], _address(site))


def _training(site: Site) -> Launch | None:
    from backplane.platform import training

    missing = training.missing(site.cache, site.jars.key, site.heap)
    profile = next(name for name, heap in java.PROFILES.items() if heap == site.heap)
    return Launch([sys.executable, "-P", "-m", "backplane.platform.training", profile]) if missing else None


def python_part(
    name: str,
    module: str,
    after: tuple[str, ...] = ("topics",),
    *,
    worker: bool = False,
    spare: bool = False,
    user: str = OPERATOR,
) -> Part:
    """A part that is ``python -m module --data-dir D --http-port N`` and answers at ``/health`` when it is ready;
    ``user`` is who it is to Kafka."""

    def launch(site: Site) -> Launch:
        where = ["--data-dir", str(site.layout.data_dir), "--http-port", str(site.ports[name])]
        return Launch([sys.executable, "-P", "-m", module, *where], _address(site, user))

    return Part(name, launch, Node(after=after, notes=True), (name,), ready=_healthy, worker=worker, spare=spare)


def _in_the_background(part: Part) -> Part:
    """The platform is ready without it, and it takes no time from what starts beside it."""
    return replace(part, node=replace(part.node, optional=True), nice=5)


async def _healthy(port: int) -> bool:
    return await probes.http_ok(port, "/health")


def _kafka_answers(site: Site) -> Probe:
    return partial(probes.kafka_answers, login=site.layout.kafka_login() if site.users else None)


def _address(site: Site, user: str = OPERATOR) -> dict[str, str]:
    """The platform's own addresses as environment: above any file, whatever the working directory holds."""
    env = {"BACKPLANE_DATA_DIR": str(site.layout.data_dir)}
    settings = site.settings()
    if site.users and "kafka" in settings:
        settings["kafka"] |= named(user)
    for section, values in settings.items():
        for key, value in values.items():
            env[f"BACKPLANE_{section}__{key.replace('.', '_')}".upper()] = value
    return env


def base_environment() -> dict[str, str]:
    """The environment of every part: this process's, without addresses and credentials of other platforms."""
    foreign = ("BACKPLANE_KAFKA__", "BACKPLANE_REGISTRY__", "BACKPLANE_CLICKHOUSE__", "BACKPLANE_IDENTITY__")
    kept = {key: value for key, value in os.environ.items() if not key.upper().startswith(foreign)}
    # Bytecode is kept, whatever the caller's own processes do: a third of a part's start is compiling it otherwise.
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    return {**kept, "PYTHONUNBUFFERED": "1"}


TABLE: Final = (
    Part("format", _format, Node(task=True)),
    Part("kafka", _kafka, Node(after=("format",)), ("kafka", "kafka-controller"), probe=_kafka_answers),
    Part("registry", _registry, Node(), ("registry",), registry.answers),
    Part("topics", _topics, Node(after=("kafka", "registry"), task=True)),
    python_part("sink", "backplane.sink", user=SINK),
    python_part("ledger", "backplane.ledger", worker=True, spare=True, user=LEDGER),
    python_part("executor", "backplane.executor", worker=True, spare=True, user=EXECUTOR),
    _in_the_background(python_part("console", "backplane.console", after=("sink",))),
    Part("training", _training, Node(after=("kafka", "registry"), task=True, optional=True), nice=19),
)
"""The platform as `backplane up` starts it."""

RENAMED: Final = {"store": "sink"}
"""Old name of a part → its name. An old name works until 0.2."""
NEEDS: Final = {"kafka": ("format", "training"), "registry": ("training",)}
"""Rows that come along when a part is asked for by name."""


def load_table(reference: str = "") -> tuple[Part, ...]:
    """The table named ``module:attribute``; the platform's own by default."""
    if not reference:
        return TABLE
    module, _, attribute = reference.partition(":")
    table = getattr(importlib.import_module(module), attribute)
    return tuple(table)


def select(
    table: Sequence[Part], names: Sequence[str] = (), workers: Mapping[str, int] | None = None
) -> tuple[Part, ...]:
    """The rows of ``table`` to run: those named and what they need, all when none is named, workers multiplied.

    Raises:
        UnknownPart: a name is not in the table.
        PlatformError: a part that may not run more than once is asked for several times.
    """
    known = [part.name for part in table]
    names = [RENAMED.get(name, name) for name in names]
    for name in (*names, *(workers or {})):
        if name not in known:
            raise UnknownPart(f"no part {name!r}", hint=f"the parts are {', '.join(known)}", part=name, parts=known)
    wanted = set(names or known)
    for name in tuple(wanted):
        wanted.update(NEEDS.get(name, ()))
    rows: list[Part] = []
    for part in table:
        if part.name in wanted:
            after = tuple(base for base in part.node.after if base in wanted)
            node = replace(part.node, after=after)
            rows.extend(_multiplied(_with(part, node), (workers or {}).get(part.name, 1)))
    return tuple(rows)


def _with(part: Part, node: Node) -> Part:
    return replace(part, node=node)


def _multiplied(part: Part, count: int) -> list[Part]:
    """``part`` under its name, further copies as ``name-2``, ``name-3``…"""
    if count != 1 and not part.worker:
        raise PlatformError(
            f"{part.name!r} runs exactly once", hint="only ledger and executor take a number of workers"
        )
    return [part, *(_copy(part, f"{part.name}-{number}") for number in range(2, count + 1))]


def _copy(part: Part, name: str) -> Part:
    def launch(site: Site) -> Launch | None:
        ports = {**site.ports, part.ports[0]: site.ports[name]}
        return part.launch(replace(site, ports=ports))

    return Part(name, launch, part.node, (name,), part.ready, worker=True, nice=part.nice)
