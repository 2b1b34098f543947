"""Progress of a download on stderr: a bar on a terminal, else one line at the start and one at the end."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID


class Progress:
    """Shows how far a known number of bytes has come."""

    def __init__(self, title: str, total: int) -> None:
        self._title = title
        self._total = total
        self._bar: RichProgress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
            from rich.progress import Progress as RichProgress

            columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
            self._bar = RichProgress(*columns, console=Console(stderr=True), transient=True)
            self._bar.start()
            self._task = self._bar.add_task(self._title, total=self._total)
        else:
            print(f"{self._title}: {self._total / 1e6:.0f} MB, once", file=sys.stderr)
        return self

    def advance(self, size: int, name: str) -> None:
        """``size`` more bytes have come: the file ``name``."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, advance=size, description=f"{self._title} ({name})")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        if error is None:
            print(f"{self._title}: done", file=sys.stderr)
