"""``backplane config``: the settings as this process sees them."""

from __future__ import annotations

import typer

from agents_sdk.settings import explain as explain_settings
from backplane.cli.output import DataDir, JsonFlag, print_rows

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Show the settings, and where each comes from.")


@app.callback()
def group() -> None:
    """Show the settings, and where each comes from."""


@app.command()
def explain(data_dir: DataDir = None, as_json: JsonFlag = False) -> None:
    """Print every setting with its value and the source it came from; secrets are masked."""
    overrides = {"data_dir": data_dir} if data_dir else {}
    print_rows(("key", "value", "source"), explain_settings(**overrides), as_json=as_json)
