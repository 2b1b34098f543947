"""Memory that was freed is given back to the machine."""

from __future__ import annotations

import subprocess
import sys

import pytest

PINNED = """
import ctypes
from pathlib import Path
from backplane.runtime.freed_memory import give_back

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

many = [bytes(1_000) for _ in range(100_000)]
last = many[-1]
del many
before = resident()
give_back()
print(before - resident())
"""


@pytest.mark.skipif(not hasattr(__import__("ctypes").CDLL(None), "malloc_trim"), reason="the C library is not glibc")
def test_freed_memory_below_something_kept_is_given_back() -> None:
    """A hundred megabytes under one object that lives: glibc would keep them."""
    done = subprocess.run([sys.executable, "-c", PINNED], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 50_000_000
