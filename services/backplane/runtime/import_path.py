"""Where modules of a user's project are found: after Python's own library and before what is installed."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path


def admit(folder: Path) -> None:
    """Makes the modules of ``folder`` importable. A module of the project wins over an installed one of its name, as in
    a script. It never takes the place of one of Python's library, as ``secrets.py``: our own packages import these."""
    installed = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    place = next((index for index, entry in enumerate(sys.path) if entry in installed), len(sys.path))
    if str(folder) not in sys.path[:place]:
        sys.path.insert(place, str(folder))


def module_name(path: Path) -> str:
    """The name under which a file is loaded: its own, unless a module of that name is loaded or is Python's."""
    taken = path.stem in sys.modules or path.stem in sys.stdlib_module_names
    return f"{path.stem}_of_{path.parent.name or 'project'}" if taken else path.stem
