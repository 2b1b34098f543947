"""Python providers that end the executor, and one that does not."""

from __future__ import annotations

import ctypes
import os
import re
from pathlib import Path
from typing import Any

from backplane.providers.python import ProviderContext


def end(params: dict[str, Any], context: ProviderContext) -> dict[str, Any]:
    """Notes that it was asked, then ends the process in the way of ``params``."""
    with Path(params["journal"]).open("a") as journal:
        journal.write(f"{os.getpid()}\n")
    if params["how"] == "exit":
        os._exit(3)
    if params["how"] == "crash":
        ctypes.string_at(0)
    if params["how"] == "hang":
        re.match("(a+)+$", "a" * 64 + "b")  # for ever, and the interpreter's lock is not given back
    return {"how": params["how"]}
