"""``python -m backplane.platform --data-dir D …``: a supervisor without a terminal, for `backplane up --detach`."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from agents_sdk import core_dumps
from backplane.platform.errors import PlatformError
from backplane.platform.layout import Layout
from backplane.platform.parts import load_table, select
from backplane.platform.supervisor import Supervisor


def main() -> int:
    """Supervise until the signal to stop; the failure is in the platform's record and on stderr."""
    core_dumps.forbid()
    parser = argparse.ArgumentParser(prog="python -m backplane.platform")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--profile", default="dev")
    parser.add_argument("--parts", default="", help="names, joined by commas; all by default")
    parser.add_argument("--worker", action="append", default=[], help="PART=NUMBER")
    parser.add_argument("--table", default="", help="module:attribute of another table of parts")
    parser.add_argument("--leash", action="store_true", help="stop when stdin ends")
    parser.add_argument("--trust", action="store_true", help="grant every declaration of an agent")
    parser.add_argument("--no-kafka-login", action="store_true", help="Kafka asks nobody who he is")
    given = parser.parse_args()
    workers = {name: int(number) for name, _, number in (item.partition("=") for item in given.worker)}
    names = [name for name in given.parts.split(",") if name]
    try:
        rows = select(load_table(given.table), names, workers)
        leash = sys.stdin.fileno() if given.leash else None
        layout = Layout(given.data_dir)
        users = not given.no_kafka_login
        Supervisor(layout, rows, profile=given.profile, leash=leash, trust=given.trust, users=users, say=_say).run()
    except PlatformError as error:
        _say("platform", f"{error.code}: {error.message}\n{error.hint}")
        return 1
    return 0


def _say(part: str, what: str) -> None:
    print(f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {part}: {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
