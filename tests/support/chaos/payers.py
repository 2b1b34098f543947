"""Clients that call what must not happen twice, some of it for as long as a process may stand still."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Final

from agents_sdk import AsyncBackplane, CallFailed
from agents_sdk.operations import CallResult

AT_ONCE: Final = 6
LONG_S: Final = 12.0
"""One call in four takes up to so long: over a takeover and back."""
SHORT_S: Final = 1.0
CALL_TIMEOUT_S: Final = 200.0


class Payers:
    """The work, and how each call ended."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._stop = asyncio.Event()
        self.done: set[str] = set()
        self.unknown: set[str] = set()
        self.others: list[str] = []

    def stop(self) -> None:
        """``run`` returns when what is under way has ended."""
        self._stop.set()

    async def run(self, backplane: AsyncBackplane) -> None:
        """Goes on until it is stopped."""
        run = await backplane.start_run("faults.paying", complete_when="explicit")
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(self._payer(backplane, run.id, random.Random(self._chance.random())))
        await run.complete()

    async def _payer(self, backplane: AsyncBackplane, run_id: str, chance: random.Random) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            takes_s = chance.uniform(0, LONG_S if number % 4 == 0 else SHORT_S)
            params = {"number": number, "takes_s": takes_s, "before": chance.random()}
            try:
                result: CallResult = await backplane.run(run_id).execute("pay", params)
                self.done.add(result.call_id)
            except CallFailed as failed:
                known = str(failed.fields["call_id"])
                if failed.fields["error_code"] == "outcome_unknown":
                    self.unknown.add(known)
                else:
                    self.others.append(f"{known}: {failed}")

    def complaints(self, effects: list[str]) -> list[str]:
        """By the provider's own count: no call has two effects, each that is done has one, and none that failed for
        certain has any."""
        counted = Counter(effects)
        wrong = [f"call {call} had its effect {count} times" for call, count in counted.items() if count > 1]
        wrong += [f"call {call} is done, and had no effect" for call in self.done if not counted[call]]
        wrong += [
            f"call {call} had its effect, and nobody knows" for call in counted if call not in self.done | self.unknown
        ]
        return wrong + [f"call {other}" for other in self.others]
