"""``backplane down``: stop the local platform."""

from __future__ import annotations

from agents_sdk.settings import data_dir as settle_data_dir
from backplane.cli.output import (
    DataDir,
    message,
)
from backplane.platform.layout import Layout


def down(data_dir: DataDir = None) -> None:
    """Stop the local platform and wait until nothing of it is left; stopping what does not run is no error."""
    from backplane.platform.platform import stop

    layout = Layout(settle_data_dir(data_dir))
    if stop(layout):
        message("platform: stopped")
    else:
        message(f"no platform runs in {str(layout.data_dir)!r}")
