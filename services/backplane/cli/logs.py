"""``backplane logs``: the logs of the local platform."""

from __future__ import annotations

import time
from typing import Annotated, Final

import typer

from agents_sdk.settings import data_dir as settle_data_dir
from backplane.cli.output import DataDir, message
from backplane.cli.shown import write_line
from backplane.platform.errors import PlatformError, UnknownPart
from backplane.platform.layout import Layout

FOLLOW_EVERY_S: Final = 0.2


def logs(
    part: Annotated[str, typer.Argument(help="A part, or `supervisor`; without it, the last lines of all.")] = "",
    data_dir: DataDir = None,
    lines: Annotated[int, typer.Option("--lines", "-n", help="How many of the last lines.")] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as lines come, until Ctrl-C.")] = False,
) -> None:
    """Show what the parts have logged, also after they have stopped."""
    from backplane.platform.child import tail
    from backplane.platform.parts import RENAMED

    layout = Layout(settle_data_dir(data_dir))
    if part in RENAMED:
        message(f"hint: the part {part!r} is called {RENAMED[part]!r} now; the old name goes with 0.2")
        part = RENAMED[part]
    known = sorted(path.stem for path in layout.logs.glob("*.log"))
    if part and part not in known:
        raise UnknownPart(f"no log of {part!r} in {str(layout.logs)!r}", hint=f"there are {', '.join(known) or 'none'}")
    if not known:
        raise PlatformError(f"no logs in {str(layout.logs)!r}", hint="start the platform with `backplane up`")
    chosen = [part] if part else known
    seen = {name: _size(layout, name) for name in chosen}
    for name in chosen:
        for line in tail(layout.log(name), lines if part else 5):
            write_line(line if part else f"{name}: {line}")
    while follow:
        for name in chosen:
            seen[name] = _print_new(layout, name, seen[name], "" if part else f"{name}: ")
        time.sleep(FOLLOW_EVERY_S)


def _size(layout: Layout, name: str) -> int:
    return layout.log(name).stat().st_size


def _print_new(layout: Layout, name: str, start: int, prefix: str) -> int:
    """Print the whole lines after byte ``start``; returns where the next ones begin."""
    if _size(layout, name) < start:  # cut short by the supervisor: begin again
        start = 0
    with layout.log(name).open("rb") as file:
        file.seek(start)
        text = file.read()
    whole = text[: text.rfind(b"\n") + 1]
    for line in whole.decode(errors="replace").splitlines():
        write_line(prefix + line)
    return start + len(whole)
