"""The schemas of other versions of our records, by id: those that the registry has under our own subjects.

Anybody can write a record with any id. So an id is never looked up by itself: all that the registry has under our
subjects is read at once. It is read when a codec is opened, and then at most once in ``AGAIN_S``, in a thread. A flood
of alien ids costs what a single one costs. Each question during a reading waits for it, until ``WAIT_S`` after its
beginning. A record of the platform's own is another matter: its version is there, and ``certain`` waits for it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from agents_sdk.errors import BackplaneError
from agents_sdk.settings_model import Settings
from agents_sdk.wire.codec import RECORDS
from agents_sdk.wire.registry import Registry, subject, topic_of

log = logging.getLogger("backplane.registry")

AGAIN_S: Final = 5.0
"""How old "unknown" may be: an id becomes known when somebody applies schemas."""
FRESH_S: Final = 1.0
"""How old a reading may be that says for certain that an id is unknown. A schema is registered before a process
starts that writes with it, which takes longer. A flood of alien ids costs one reading a second."""
WAIT_S: Final = 2.0
"""A registry that is well answers within 0.1 s."""
QUIET_S: Final = 60.0
"""After a reading that found nothing new, nobody waits for the next one unless it was quiet for so long. Under a flood
of alien ids, a record of a new version is refused, and known by the time that its sender asks again."""


class ForeignSchemas:
    """A ``SchemaSource`` for a codec. Safe to use from several threads."""

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[int, dict[str, Any]] = {}
        self._read: set[tuple[str, int]] = set()
        """Subjects and versions that were read; they never change."""
        self._asked = -AGAIN_S
        self._fruitful = True
        """The last reading found something new."""
        self._failure = ""
        """Why the last reading did not end; empty: it did."""
        self._reading: _RegistryReader | None = None
        self._certain_at = -FRESH_S
        """When the last reading for ``certain`` began that was answered."""

    def read(self, registry: Registry) -> None:
        """Reads what is registered now, where this checkout's schemas are: a subject's only version is ours, and is
        not read. Raises Unreachable."""
        self._asked = self._clock()
        self._read_all(registry, alone_is_ours=True)

    def certain(self, schema_id: int, /) -> dict[str, Any]:
        """The schema with this id, by what the registry has now. Raises LookupError when it is none of ours,
        Unreachable when the registry does not answer."""
        found = self._known.get(schema_id)
        if found is None and self._clock() >= self._certain_at + FRESH_S:
            began = self._clock()
            with Registry(self._settings) as registry:
                self._read_all(registry)
            self._certain_at = began
            found = self._known.get(schema_id)
        if found is None:
            raise LookupError(f"no schema of ours has the id {schema_id} in the registry")
        return found

    def __call__(self, schema_id: int, /) -> dict[str, Any]:
        """The schema with this id. Raises LookupError when it is none of ours, or the registry does not answer."""
        found = self._known.get(schema_id)
        if found is not None:
            return found
        reading = self._start()
        if reading is not None:
            reading.done.wait(max(0.0, reading.until - self._clock()))
            found = self._known.get(schema_id)
            if found is not None:
                return found
        why = f"; the registry was not read: {self._failure}" if self._failure else ""
        raise LookupError(f"no schema of ours had the id {schema_id} when the registry was read last{why}")

    def _start(self) -> _RegistryReader | None:
        """The reading of what is registered that is under way, or begins now; None where there was one a moment ago."""
        with self._lock:
            now = self._clock()
            if self._reading is not None or now < self._asked + AGAIN_S:
                return self._reading
            wait_s = WAIT_S if self._fruitful or now >= self._asked + QUIET_S else 0.0
            self._asked = now
            begun = self._reading = _RegistryReader(threading.Event(), now + wait_s)
        threading.Thread(target=self._run, args=(begun.done,), name="bp-schemas", daemon=True).start()
        return begun

    def _run(self, done: threading.Event) -> None:
        before = len(self._known)
        try:
            with Registry(self._settings) as registry:
                self._read_all(registry)
            self._failure = ""
        except Exception as error:  # noqa: BLE001 — the thread's edge: whatever a registry may answer
            self._failure = error.message if isinstance(error, BackplaneError) else f"{type(error).__name__}: {error}"
            log.warning("schemas of other versions are not read: %s", self._failure)
        finally:
            self._fruitful = len(self._known) > before
            self._reading = None
            done.set()

    def _read_all(self, registry: Registry, *, alone_is_ours: bool = False) -> None:
        subjects = sorted({subject(topic_of(record)) for record in RECORDS})
        fresh = [
            (name, number)
            for name, numbers in zip(subjects, registry.each(registry.numbers, subjects), strict=True)
            for number in numbers
            if (name, number) not in self._read and not (alone_is_ours and len(numbers) == 1)
        ]
        for place, one in zip(fresh, registry.each(lambda place: registry.version(*place), fresh), strict=True):
            self._known[one.schema_id] = one.schema
            self._read.add(place)


class _RegistryReader(NamedTuple):
    """Of what is registered."""

    done: threading.Event
    until: float
    """How long it is waited for."""
