"""How commands reach the platform: as the client ``cli``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents_sdk.settings import load_settings
from backplane.cli.output import (
    CommandError,
)

if TYPE_CHECKING:
    from agents_sdk.blocking import Backplane


@contextmanager
def connected(data_dir: Path | None) -> Iterator[Backplane]:
    """The platform, as the client ``cli``."""
    from agents_sdk.blocking import Backplane

    with Backplane.connect(load_settings(**({"data_dir": data_dir} if data_dir else {})), name="cli") as backplane:
        yield backplane


def parsed(text: str, what: str) -> Any:
    """The JSON in ``text``, or on stdin for ``-``. Raises CommandError."""
    import json

    try:
        return json.loads(sys.stdin.read() if text == "-" else text)
    except ValueError as error:
        hint = f"strings need quotes: '\"{text}\"'" if text.isalnum() else ""
        raise CommandError("usage", f"{what} is not JSON: {error}", hint) from error
