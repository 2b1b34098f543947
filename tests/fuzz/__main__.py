"""``python -m tests.fuzz --inputs N --seed S``: fuzzes a platform of its own and tells its faults."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from backplane.platform.platform import LocalPlatform
from tests.fuzz.trial import fuzz


def main() -> int:
    """Parses, runs, tells."""
    parser = argparse.ArgumentParser(prog="tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--batch", type=int, default=20_000, help="inputs between two canaries")
    parser.add_argument("--size", type=int, default=200, help="inputs of one record batch")
    parser.add_argument("--keep", type=Path, help="the platform's directory; kept")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    where = options.keep or Path(tempfile.mkdtemp(prefix="fuzz-"))
    began = time.monotonic()
    with LocalPlatform(where) as platform:
        report = asyncio.run(fuzz(platform, options.seed, options.inputs, options.batch, options.size))
    for entrance, kinds in sorted(report.kinds.items()):
        print(f"{entrance}: {', '.join(f'{kind} {count}' for kind, count in sorted(kinds.items()))}")
    slowest, mean = max(report.canaries_s), sum(report.canaries_s) / len(report.canaries_s)
    print(f"{report.inputs} inputs in {time.monotonic() - began:.0f} s, seed {report.seed}")
    print(f"canary: mean {mean:.1f} s, slowest {slowest:.1f} s; memory {report.rss_mb}")
    for fault in report.faults:
        print(f"FAULT: {fault} (logs in {where}/logs)")
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
