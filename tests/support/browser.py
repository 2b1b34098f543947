"""A real browser for tests of pages: Debian's Chromium, headless, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).parents[2]
SCREENSHOTS: Final = ROOT / "var" / "screenshots"
PICTURES: Final = os.environ.get("PICTURES") == "1"
"""Asked for by ``make pictures``: a hundred of them take half a minute."""
AXE: Final = ROOT / "tests" / "assets" / "axe.min.js"
RULES: Final = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]
NARROW: Final = {"width": 390, "height": 844}
WIDE: Final = {"width": 1440, "height": 900}


def executable() -> str:
    """Where Chromium is; the test is skipped where it is nowhere, and fails where it has to be."""
    found = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
    )
    if not found and os.environ.get("CI") == "true":
        pytest.fail("Chromium is not installed here; `make browser` installs it")
    if not found:
        pytest.skip("NO BROWSER: Chromium is not installed, so the console was not tested in one; `make browser`")
    return found


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser; its pages are made by ``Window``."""
    from playwright.sync_api import sync_playwright

    path = executable()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


class Window:
    """One page of a browser, which keeps everything that it complained of."""

    def __init__(self, browser: Any, base: str, *, expected: str | tuple[str, ...] = (), **options: Any) -> None:
        """``expected``: a complaint with this text, or one of these, is none."""
        self._expected = (expected,) if isinstance(expected, str) else expected
        self.context = browser.new_context(base_url=base, viewport=options.pop("viewport", WIDE), **options)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", lambda one: self._note(one.type, one.text))
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on("dialog", self._dialog)

    def _note(self, kind: str, text: str) -> None:
        if kind in ("error", "warning") and not any(one in text for one in self._expected):
            self.complaints.append(f"{kind}: {text}")

    def _dialog(self, dialog: Any) -> None:
        self.complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def open(self, path: str) -> int:
        """Goes there; the status of the answer."""
        answer = self.page.goto(path, wait_until="load")
        return int(answer.status) if answer else 0

    def shot(self, name: str) -> None:
        """Keeps a picture of what is seen, where pictures are asked for."""
        if not PICTURES:
            return
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=str(SCREENSHOTS / f"{name}.png"))

    def hindrances(self, *rules: str) -> list[str]:
        """What axe-core finds that keeps people out: the rule, and the first place it is broken at. ``rules``: only
        these, where all else was looked at already."""
        # evaluated by the driver, which the page's own policy does not forbid, and the page's scripts cannot do
        self.page.evaluate(AXE.read_text())
        found = self.page.evaluate(
            "async (only) => (await axe.run(document, {runOnly: only})).violations"
            ".map(v => `${v.id}: ${v.help}: ${v.nodes[0].html.slice(0, 160)} ${v.nodes[0].failureSummary}`)",
            {"type": "rule", "values": list(rules)} if rules else {"type": "tag", "values": RULES},
        )
        return [str(one) for one in found]

    def close(self) -> None:
        """Closes it."""
        self.context.close()
