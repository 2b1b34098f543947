"""Keeps what a process knows, its keys and those of others, out of core dumps and away from other processes' eyes."""

from __future__ import annotations

import contextlib
import sys
from typing import Final

_PR_SET_DUMPABLE: Final = 4
"""Of Linux's prctl(2): without it no core is written, to a file or to a collector's pipe. Other processes of the same
user cannot read its memory and environment either."""


def forbid(*, wholly: bool = False) -> None:
    """No core dump is written of this process, nor of those that it starts. ``wholly``: its memory and environment are
    closed to other processes of the same user as well; those that it starts decide for themselves. A setting that the
    system does not have is left out."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if wholly and sys.platform == "linux":
        with contextlib.suppress(ImportError, AttributeError, OSError):
            import ctypes

            ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
