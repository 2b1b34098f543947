"""The executor as it is, but its event loop may stand still for twelve seconds only: so that a test need not wait."""

from __future__ import annotations

from typing import Final

from backplane.executor.__main__ import main
from backplane.runtime import app

HANG_S: Final = 12.0

if __name__ == "__main__":
    app.HANG_S = HANG_S  # type: ignore[misc]  # the one place that may
    main()
