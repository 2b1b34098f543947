"""The ledger as it is, but for snapshots every few hundred facts: so that a short test recovers from some."""

from __future__ import annotations

import os
from typing import Final

from backplane.ledger import partition
from backplane.ledger.__main__ import main

FACTS_BETWEEN: Final = int(os.environ.get("TEST_FACTS_BETWEEN", "400"))

if __name__ == "__main__":
    assert "FACTS_BETWEEN" in vars(partition)
    vars(partition)["FACTS_BETWEEN"] = FACTS_BETWEEN
    main()
