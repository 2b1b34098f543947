"""``backplane doctor``: what is wrong, and what to do about it."""

from __future__ import annotations

import typer

from agents_sdk.settings import data_dir as settle_data_dir
from backplane.cli.output import DataDir, ExitCode, JsonFlag, print_rows


def doctor(data_dir: DataDir = None, as_json: JsonFlag = False) -> None:
    """Check Python, Java, jars, disk, memory, ports and the platform. The exit code is 1 when a check fails."""
    from backplane.platform.doctor import examine
    from backplane.platform.layout import Layout

    checks = examine(Layout(settle_data_dir(data_dir)))
    print_rows(("check", "verdict", "found", "next_step"), checks, as_json=as_json)
    if any(check.verdict == "fail" for check in checks):
        raise typer.Exit(ExitCode.FAILURE)
