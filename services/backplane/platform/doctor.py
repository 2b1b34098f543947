"""Faults of this machine or the platform, each with its remedy."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal, NamedTuple

import psutil

from agents_sdk.settings import cache_dir
from backplane.platform import artifacts, java, ports, probes, registry, training
from backplane.platform.errors import PlatformError
from backplane.platform.layout import Layout

Verdict = Literal["ok", "warn", "fail"]

OLDEST_PYTHON: Final = (3, 11)
FREE_MB: Final = {"warn": 2048, "fail": 256}
"""Below the first, a few hours of events fill it; below the second, the supervisor refuses to start."""
MEMORY_MB: Final = {"warn": 1536, "fail": 768}
"""Memory of Kafka, the registry and four Python processes: 1.2 GB; the first two alone: 0.5 GB (measured)."""


class Check(NamedTuple):
    """One thing looked at."""

    name: str
    verdict: Verdict
    found: str
    next_step: str = ""
    """The remedy, when the verdict is not ok."""


def examine(layout: Layout) -> list[Check]:
    """All checks, those of the machine first; never raises."""
    checks = [_python(), _java(), _jars(), _archives(), _disk(layout.data_dir), _memory(), _open_files()]
    checks.append(_ports(layout))
    return [*checks, *_platform(layout)]


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST_PYTHON:
        return Check("python", "fail", version, "install Python 3.11 or newer")
    return Check("python", "ok", f"{version} at {sys.executable}")


def _java() -> Check:
    try:
        done = subprocess.run([java.java(), "-version"], capture_output=True, text=True, timeout=30, check=True)
    except PlatformError as error:
        return Check("java", "fail", error.message, error.hint)
    except (OSError, subprocess.SubprocessError) as error:
        return Check("java", "fail", str(error), "reinstall it: `make clean install`")
    return Check("java", "ok", done.stderr.splitlines()[0])


def _jars() -> Check:
    lock = artifacts.read_lock()
    folder = cache_dir() / "jars"
    absent = artifacts.absent(lock, folder)
    if absent:
        size = sum(item.size for item in absent) / 1e6
        return Check(
            "jars", "warn", f"{len(absent)} of {len(lock)} to be fetched", f"`backplane up` gets {size:.0f} MB"
        )
    return Check("jars", "ok", f"{len(lock)} in {folder}")


def _archives() -> Check:
    try:
        key = artifacts.lock_key()
        missing = training.missing(cache_dir(), key, java.PROFILES["dev"])
    except (PlatformError, OSError) as error:
        return Check("fast start", "warn", str(error), "see `java` above")
    if missing:
        return Check("fast start", "warn", f"not yet for {', '.join(missing)}", "the first `backplane up` prepares it")
    return Check("fast start", "ok", "start-up archives are there")


def _disk(folder: Path) -> Check:
    while not folder.exists():
        folder = folder.parent
    free_mb = shutil.disk_usage(folder).free // 1_048_576
    if not os.access(folder, os.W_OK):
        return Check("disk", "fail", f"{folder} cannot be written", "choose another place with --data-dir")
    return _graded("disk", free_mb, FREE_MB, f"{free_mb} MB free at {folder}", "make room, or use --data-dir")


def _memory() -> Check:
    available_mb = psutil.virtual_memory().available // 1_048_576
    step = "close something, or use `backplane up --profile small`"
    return _graded("memory", available_mb, MEMORY_MB, f"{available_mb} MB available", step)


def _open_files() -> Check:
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _graded("open files", soft, {"warn": 1024, "fail": 256}, f"{soft} allowed", "raise it: `ulimit -n 4096`")


def _graded(name: str, value: int, limits: dict[str, int], found: str, step: str) -> Check:
    if value < limits["fail"]:
        return Check(name, "fail", found, step)
    return Check(name, "warn", found, step) if value < limits["warn"] else Check(name, "ok", found)


def _ports(layout: Layout) -> Check:
    if layout.running():
        return Check("ports", "ok", "in use by the platform")
    recorded = layout.read_record().get("ports", {})
    taken = {name: port for name, port in recorded.items() if not ports.free(port)}
    if taken:
        found = ", ".join(f"{name} {port}" for name, port in taken.items())
        return Check("ports", "warn", f"taken by something else: {found}", "others will be chosen at the next start")
    return Check("ports", "ok", "free")


def _platform(layout: Layout) -> Iterator[Check]:
    if not layout.running():
        yield Check("platform", "warn", f"none runs in {layout.data_dir}", "start it with `backplane up`")
        return
    record = layout.read_record()
    state = record.get("state", "starting")
    verdict: Verdict = "ok" if state == "ready" else "warn"
    yield Check("platform", verdict, state, "" if verdict == "ok" else "`backplane status` shows which part, and why")
    for name, part in record.get("parts", {}).items():
        if part["port"]:
            yield _part(layout, name, part["port"])


def _part(layout: Layout, name: str, port: int) -> Check:
    if name == "kafka":
        asked = "sasl.username" in layout.read_record().get("settings", {}).get("kafka", {})
        answers = asyncio.run(probes.kafka_answers(port, layout.kafka_login() if asked else None))
    elif name == "registry":
        answers = asyncio.run(registry.answers(port))
    else:
        answers = asyncio.run(probes.http_ok(port, "/health"))
    where = f"{ports.LOOPBACK}:{port}"
    if answers:
        return Check(name, "ok", f"answers on {where}")
    return Check(name, "fail", f"does not answer on {where}", f"`backplane logs {name}` says why")
