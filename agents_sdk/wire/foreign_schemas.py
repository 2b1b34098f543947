"""The schemas of other versions of our records, by id: those that the registry has under our own subjects.

Anybody can write a record with any id. So an id is never looked up by itself. What the registry has under our subjects
is read as a whole, at most once in ``AGAIN_S``, in a thread; every other id is unknown at once. A flood of alien ids
costs what a single one costs, and only the first record that sets a reading off waits for it, ``WAIT_S`` at most.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from agents_sdk.errors import BackplaneError, Unreachable
from agents_sdk.settings_model import Settings
from agents_sdk.wire.codec import RECORDS
from agents_sdk.wire.registry import Registry, subject, topic_of

log = logging.getLogger("backplane.registry")

AGAIN_S: Final = 5.0
"""How old "unknown" may be: an id becomes known when somebody applies schemas."""
WAIT_S: Final = 2.0
"""A registry that is well answers within 0.1 s."""
QUIET_S: Final = 60.0
"""After a reading that found nothing new, nobody waits for the next one unless it was quiet for so long: under a flood
of alien ids a record of a new version is refused, and known by the time that its sender asks again."""


class ForeignSchemas:
    """A ``SchemaSource`` for a codec. Safe to use from several threads."""

    def __init__(
        self, settings: Settings, *, patient: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """``patient``: where the registry does not answer, Unreachable is raised; else the id is unknown."""
        self._settings = settings
        self._patient = patient
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[int, dict[str, Any]] = {}
        self._read: set[tuple[str, int]] = set()
        """Subjects and versions that were read; they never change."""
        self._asked = -AGAIN_S
        self._fruitful = True
        """The last reading found something new."""
        self._failure: BackplaneError | None = None
        self._reading: threading.Event | None = None

    def __call__(self, schema_id: int, /) -> dict[str, Any]:
        """The schema with this id. Raises LookupError when it is none of ours, Unreachable as the constructor says."""
        found = self._known.get(schema_id)
        if found is not None:
            return found
        started = self._start()
        if started is not None:
            done, wait_s = started
            done.wait(wait_s)
            found = self._known.get(schema_id)
            if found is not None:
                return found
        failure = self._failure
        if failure is not None and self._patient:
            raise failure
        why = f"; the registry was not read: {failure.message}" if failure is not None else ""
        raise LookupError(f"no schema of ours had the id {schema_id} when the registry was read last{why}")

    def _start(self) -> tuple[threading.Event, float] | None:
        """Begins to read what is registered, and says how long to wait for it; None where it was read a moment ago, or
        is being read."""
        with self._lock:
            now = self._clock()
            if self._reading is not None or now < self._asked + AGAIN_S:
                return None
            wait_s = WAIT_S if self._fruitful or now >= self._asked + QUIET_S else 0.0
            self._asked = now
            done = self._reading = threading.Event()
        if self._patient:
            self._run(done)
        else:
            threading.Thread(target=self._run, args=(done,), name="bp-schemas", daemon=True).start()
        return done, wait_s

    def _run(self, done: threading.Event) -> None:
        before = len(self._known)
        try:
            self._read_all()
            self._failure = None
        except BackplaneError as error:
            log.warning("schemas of other versions are not read: %s", error.message)
            self._failure = error
        except Exception as error:  # noqa: BLE001 — the thread's edge: whatever a registry may answer
            log.warning("schemas of other versions are not read: %s: %s", type(error).__name__, error)
            self._failure = Unreachable(f"the registry cannot be read: {error}", server="registry")
        finally:
            self._fruitful = len(self._known) > before
            self._reading = None
            done.set()

    def _read_all(self) -> None:
        with Registry(self._settings) as registry:
            for name in sorted({subject(topic_of(record)) for record in RECORDS}):
                for number in registry.numbers(name):
                    if (name, number) not in self._read:
                        registered = registry.version(name, number)
                        self._known[registered.schema_id] = registered.schema
                        self._read.add((name, number))
