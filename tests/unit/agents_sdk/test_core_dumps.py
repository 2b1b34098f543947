"""What a process knows is in no core dump, and not for other processes to read."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, os, resource, subprocess
from agents_sdk import core_dumps
resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2)
core_dumps.forbid(wholly={wholly})
core_dumps.forbid(wholly={wholly})
print(resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), flush=True)
subprocess.run(["sh", "-c", "ulimit -c"])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
@pytest.mark.parametrize("wholly", [True, False])
def test_no_core_is_written_of_a_process_or_its_children(wholly: bool) -> None:
    """The limit is inherited; the memory is closed where that is wanted."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(wholly=wholly)], capture_output=True, text=True, check=True
    )

    assert done.stdout.split("\n")[:2] == [f"(0, 0) {0 if wholly else 1}", "0"]
