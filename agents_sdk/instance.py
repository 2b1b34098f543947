"""A name for this process that its successor gets, so that a consumer group knows the two as one member.

A process that was killed and is started again gets its work back at once under the name it had (static membership).
Under another one it waits until the broker gives the dead one up. Names lie in files, one that is locked for each
process that lives; the kernel unlocks it however the process ends. The content of the file is the name: no two data
directories, on whatever machines, ever give the same.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from agents_sdk.scope import new_id

LIMIT: Final = 1_000
"""Processes of the same agents in one data directory; more of them have no kept name."""
_held: list[int] = []
"""Descriptors of the files that this process has locked; closing one gives the name away."""


def kept_instance(data_dir: Path, agents: Iterable[str]) -> str:
    """The first name that no living process of these agents has. Empty where none can be kept, which costs time at a
    takeover and nothing else."""
    group = hashlib.sha256("\0".join(sorted(agents)).encode()).hexdigest()[:16]
    folder = Path(data_dir) / "instances"
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(1, LIMIT + 1):
            name = _locked(folder / f"{group}-{number}")
            if name:
                return name
    return ""


def _locked(path: Path) -> str:
    """The file's content, locked from now on; empty where another process has it. Raises OSError."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return ""
    except OSError:
        os.close(file)
        raise
    _held.append(file)
    name = os.read(file, 100).decode(errors="replace").strip()
    if not name:
        name = new_id()
        os.pwrite(file, name.encode(), 0)
    return name
