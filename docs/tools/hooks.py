"""The hooks that MkDocs loads: those of ``docs.tools.pages``, found from the root of the checkout."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
for folder in (ROOT / "services", ROOT):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from docs.tools.pages import on_files, on_page_markdown, on_post_build  # noqa: E402 -- after the path is set

__all__ = ["on_files", "on_page_markdown", "on_post_build"]
