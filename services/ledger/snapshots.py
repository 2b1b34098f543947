"""Snapshots of the books in a faust Table, so that a restart folds the tail of the facts and not all of them.

A partition's keys: ``<p>/run/<run id>`` a live run, ``<p>/end/<run id>`` an ended one, ``<p>/spent/<window>/<n>``
commands not to be applied again, ``<p>/meta`` the rest with the fact offsets to fold on from; what is too large for a
record is in ``pieces``. The snapshot is fuzzy and
safe: each run carries its own run_seq, so facts that it has in it already are skipped, and the offsets are read before
the runs are encoded, so none is missed. The meta record comes last: a crash on the way leaves the old one, which is
still true. Only committed state is written (the committer is drained first): an uncommitted run would take its commands
for done when they are decided again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

import faust
import msgspec
from confluent_kafka import TopicPartition
from faust.streams import current_event

from agents_sdk.core.ledger import Book, Limits
from agents_sdk.core.ledger.state import AgentSpec, Breaker, Contract, Finished, KeyState, Run
from agents_sdk.topics import FACT_TOPICS
from services.ledger.pieces import Changes, Pieces
from services.runtime import clients

log = logging.getLogger("backplane.ledger")

FACTS_BETWEEN: Final = 50_000
"""Facts of a partition between two snapshots: folding as many takes about a second."""
HASHES_A_KEY: Final = 50_000
"""9 bytes each: half of what a broker takes by default."""
SLICE: Final = 100
"""Table writes between two yields to the event loop; one is about 50 µs."""


class Meta(msgspec.Struct):
    """What a snapshot knows besides the runs."""

    applied: int
    offsets: dict[str, int]
    agents: dict[str, AgentSpec]
    contracts: dict[str, dict[str, Contract]]
    removed: dict[str, int] = {}
    keys: dict[str, KeyState] = {}
    breakers: dict[str, Breaker] = {}
    identity_required: bool = False
    refused: dict[str, int] = {}
    refused_at: int = -1
    spent: dict[int, int] = {}
    """Window of ``Book.spent`` → how many keys its hashes fill."""


class Snapshots:
    """The table of all partitions that this worker owns."""

    def __init__(self, app: faust.App, partitions: int, kafka: Mapping[str, str]) -> None:
        self._app = app
        self._kafka = kafka
        self._spent: dict[int, dict[int, int]] = {}
        """Partition → ``Meta.spent`` of its last snapshot."""
        self._pieces: dict[int, Pieces] = {}
        self._table: Any = app.Table(
            "snapshots",
            partitions=partitions,
            key_type=bytes,
            value_type=bytes,
            options={"write_buffer_size": 8 << 20, "block_cache_size": 8 << 20, "max_open_files": 64},
        )

    async def load(self, partition: int, limits: Limits) -> tuple[Book, dict[str, int]]:
        """The partition's last snapshot and the fact offsets to fold on from; an empty book where there is none."""
        await self._app.tables.wait_until_recovery_completed()
        try:
            return self._decoded(partition, limits)
        except (msgspec.MsgspecError, KeyError) as error:
            # written by another version of this code: the facts have it all
            log.warning("partition %d: snapshot not readable (%s), folding all facts", partition, error)
            return Book(limits=limits), {}

    def _decoded(self, partition: int, limits: Limits) -> tuple[Book, dict[str, int]]:
        book = Book(limits=limits)
        pieces = self._pieces[partition] = Pieces(partition)
        stored = pieces.join(dict(self._stored(partition)))
        raw = stored.pop(f"{partition}/meta", None)
        if raw is None:
            return book, {}
        meta = msgspec.msgpack.decode(raw, type=Meta)
        book.applied, book.agents, book.contracts = meta.applied, meta.agents, meta.contracts
        book.keys, book.identity_required = meta.keys, meta.identity_required
        book.removed = meta.removed
        book.refused, book.refused_at = meta.refused, meta.refused_at
        book.breakers = meta.breakers
        for window, count in meta.spent.items():
            found = (stored.pop(f"{partition}/spent/{window}/{number}") for number in range(count))
            book.spent[window] = dict.fromkeys(
                each for part in found for each in msgspec.msgpack.decode(part, type=list[int])
            )
        self._spent[partition] = meta.spent
        ended: list[tuple[int, str, Finished]] = []
        for key, value in stored.items():
            _, kind, run_id = key.split("/", 2)
            if kind == "spent":
                continue  # of a window that is over
            if kind == "run":
                book.runs[run_id] = msgspec.msgpack.decode(value, type=Run)
            else:
                order, finished = msgspec.msgpack.decode(value, type=tuple[int, Finished])
                ended.append((order, run_id, finished))
        book.finished = {run_id: finished for _, run_id, finished in sorted(ended, key=lambda entry: entry[0])}
        return book, meta.offsets

    def _stored(self, partition: int) -> Iterator[tuple[str, bytes]]:
        prefix = f"{partition}/"
        for key, value in self._table.items():
            text = key.decode() if isinstance(key, bytes) else key
            if value and text.startswith(prefix):
                yield text, value

    def ends(self, partition: int, *, committed: bool = True) -> dict[str, int]:
        """The present ends of the partition's fact topics: of what is committed, or of all there is. Blocks. Raises
        KafkaException."""
        consumer = clients.reader(self._kafka, isolation_level="read_committed" if committed else "read_uncommitted")
        try:
            return {
                topic: consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)[1]
                for topic in FACT_TOPICS
            }
        finally:
            consumer.close()

    def capture(self, partition: int, book: Book, dirty: Mapping[str, int], offsets: dict[str, int]) -> Changes:
        """The table changes that make a snapshot, encoded now; ``dirty`` are the runs touched since the last one, with
        the offset that touched them last."""
        changes: Changes = []
        for run_id, touched in dirty.items():
            live, end = f"{partition}/run/{run_id}", f"{partition}/end/{run_id}"
            run = book.runs.get(run_id)
            if run is not None:
                changes.append((live, msgspec.msgpack.encode(run)))
                continue
            changes.append((live, None))
            if run_id in book.finished:
                changes.append((end, msgspec.msgpack.encode((touched, book.finished[run_id]))))
        spent = _spent(partition, book)
        changes += [change for keys in spent.values() for change in keys]
        meta = Meta(
            applied=book.applied,
            offsets=offsets,
            agents=book.agents,
            contracts=book.contracts,
            removed=book.removed,
            keys=book.keys,
            breakers=book.breakers,
            identity_required=book.identity_required,
            refused=book.refused,
            refused_at=book.refused_at,
            spent={window: len(keys) for window, keys in spent.items()},
        )
        changes.append((f"{partition}/meta", msgspec.msgpack.encode(meta)))
        # after the meta record, which says that nobody needs them any more
        gone = {window: count for window, count in self._spent.get(partition, {}).items() if window not in book.spent}
        changes += [(f"{partition}/spent/{w}/{number}", None) for w, count in gone.items() for number in range(count)]
        self._spent[partition] = meta.spent
        return self._pieces.setdefault(partition, Pieces(partition)).cut(changes)

    async def write(self, partition: int, changes: Changes) -> None:
        """Writes captured changes, a slice at a time. Call it in the context of one of the partition's events: faust
        takes the changelog's partition from there."""
        event = current_event()  # held: faust keeps a weak reference only
        began = time.monotonic()
        for number, (key, value) in enumerate(changes, 1):
            if value is None:
                with contextlib.suppress(KeyError):
                    del self._table[key.encode()]
            else:
                self._table[key.encode()] = value
            if number % SLICE == 0:
                await asyncio.sleep(0)
        del event
        log.info("partition %d: snapshot of %d keys in %.2f s", partition, len(changes), time.monotonic() - began)


def _spent(partition: int, book: Book) -> dict[int, Changes]:
    """By window, its hashes in keys of a size that the changelog takes."""
    found: dict[int, Changes] = {}
    for window, hashes in book.spent.items():
        ordered = list(hashes)
        found[window] = [
            (f"{partition}/spent/{window}/{number}", msgspec.msgpack.encode(ordered[start : start + HASHES_A_KEY]))
            for number, start in enumerate(range(0, len(ordered), HASHES_A_KEY))
        ]
    return found
