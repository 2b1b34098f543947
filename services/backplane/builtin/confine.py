"""Takes from this process, for good, every file but those named, and the network: Linux's Landlock.

A second wall, for the case that an engine does not refuse by itself. Must be called before other threads are started,
which it would not reach. Kernels before 5.13 (network: 6.7) and other systems have none: then it does nothing and says
so.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

CREATE_RULESET: Final = 444
ADD_RULE: Final = 445
RESTRICT_SELF: Final = 446
"""System calls, the same number on every architecture; glibc has no functions for them. linux/landlock.h"""
ASK_VERSION: Final = 1
PATH_BENEATH: Final = 1
PR_SET_NO_NEW_PRIVS: Final = 38
READ_FILE: Final = 1 << 2
READ: Final = READ_FILE | 1 << 3
FILE_RIGHTS_SINCE: Final = {1: 13, 2: 14, 3: 15, 5: 16}
"""Version of Landlock → how many rights to files it knows; all of them are taken."""
NETWORK_SINCE: Final = 4
TCP: Final = 0b11
"""Bind and connect."""


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def confine(readable: Iterable[Path], writable: Iterable[Path]) -> int:
    """Only these files and folders, with what is below them, can be opened from now on. The version of Landlock that
    holds it; 0: there is none here."""
    if sys.platform != "linux":
        return 0
    libc = ctypes.CDLL(None, use_errno=True)
    version = int(libc.syscall(CREATE_RULESET, None, 0, ASK_VERSION))
    if version < 1:
        return 0
    every = (1 << max(rights for since, rights in FILE_RIGHTS_SINCE.items() if since <= version)) - 1
    wanted = _Ruleset(every, TCP if version >= NETWORK_SINCE else 0)
    size = ctypes.sizeof(wanted) if version >= NETWORK_SINCE else ctypes.sizeof(ctypes.c_uint64)
    ruleset = _done(libc.syscall(CREATE_RULESET, ctypes.byref(wanted), size, 0))
    for path, rights in [*((path, READ) for path in readable), *((path, every) for path in writable)]:
        if path.exists():
            _allow(libc, ruleset, path, rights)
    _done(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _done(libc.syscall(RESTRICT_SELF, ruleset, 0))
    os.close(ruleset)
    return version


def _allow(libc: ctypes.CDLL, ruleset: int, path: Path, rights: int) -> None:
    opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        beneath = _Beneath(rights if path.is_dir() else rights & READ_FILE, opened)
        _done(libc.syscall(ADD_RULE, ruleset, PATH_BENEATH, ctypes.byref(beneath), 0))
    finally:
        os.close(opened)


def _done(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"landlock: {os.strerror(number)}")
    return result
