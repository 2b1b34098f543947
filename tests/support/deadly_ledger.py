"""The ledger as it is, in a process that some records of bp.commands kill for real: by a signal, in the middle."""

from __future__ import annotations

import os
import signal

from agents_sdk.core.commands import Command
from agents_sdk.wire.codec import Codec
from backplane.ledger import accept, partition
from backplane.ledger.__main__ import main
from backplane.runtime.batch import Record

DEADLY = b"this record kills"
BROKEN = b"this record raises"
_accepted = accept.accepted


def accepted(codec: Codec, record: Record) -> Command:
    """As the ledger's own; but a crash of a C library comes without an exception."""
    if DEADLY in (record.value or b""):
        os.kill(os.getpid(), signal.SIGKILL)
    return _accepted(codec, record)


if __name__ == "__main__":
    partition.accepted = accepted  # type: ignore[attr-defined]  # imported there by name
    main()
