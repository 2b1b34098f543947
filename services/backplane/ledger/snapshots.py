"""Snapshots of the books in a faust Table, so that a restart folds the tail of the facts and not all of them.

A partition's keys: ``<p>/run.<t>/<run id>`` a live run, ``<p>/end.<t>/<run id>`` an ended one.
``<p>/spent.<t>/<window>/<n>`` has commands not to be applied again, ``<p>/meta.<t>`` the rest with the fact offsets to
fold on from. ``<t>`` is its owner's token (``snapshot_keys``); a value too large for a record is in ``pieces``. The
snapshot is fuzzy and safe. Each run carries its own run_seq, so facts that it has in it already are skipped. The
offsets are read before the runs are encoded, so none is missed. The meta record comes last: a crash on the way leaves
the old one, which is still true. Only committed state is written (the committer is drained first): an uncommitted run
would take its commands for done when they are decided again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import weakref
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any, Final, cast

import faust
import msgspec
from faust import streams

from agents_sdk.core.ids import RunId
from agents_sdk.core.ledger import Limits, PartitionState
from agents_sdk.core.ledger.state import FINISHED_LIMIT, AgentSpec, Breaker, Contract, EndedRun, Grant, KeyState, Run
from agents_sdk.scope import new_id
from agents_sdk.topics import COMMANDS, FACT_TOPICS
from backplane.ledger.pieces import Changes, Pieces
from backplane.ledger.seals import NotProven, Seal
from backplane.ledger.snapshot_keys import ENDED, LIVE, META, SPENT, Key, OwnedKeys, successor
from backplane.runtime.partitions import EndOffsets

log = logging.getLogger("backplane.ledger")

FACTS_BETWEEN: Final = 50_000
"""Facts of a partition between two snapshots: folding as many takes about a second."""
HASHES_A_KEY: Final = 50_000
"""9 bytes each: half of what a broker takes by default."""
PENDING: Final = 1_000
"""Records of the changelog that may wait to be sent while a snapshot is written."""
SLICE: Final = 100
"""Table writes between two yields to the event loop; one is about 50 µs."""


RIGHTS: Final = ("grants", "rights_required", "policy", "policy_at")
"""Fields of a book and of its snapshot's meta record that say who may do what."""


class Meta(msgspec.Struct):
    """The snapshot's knowledge besides the runs."""

    applied: int
    offsets: dict[str, int]
    agents: dict[str, AgentSpec]
    contracts: dict[str, dict[str, Contract]]
    contract_removed_at: int = -1
    removed: dict[str, int] = {}
    keys: dict[str, KeyState] = {}
    breakers: dict[str, Breaker] = {}
    identity_required: bool = False
    refused: dict[str, int] = {}
    refused_at: int = -1
    grants: dict[str, Grant] = {}
    rights_required: bool = False
    policy: str = ""
    policy_at: int = -1
    spent: dict[int, int] = {}
    """Window of ``PartitionState.spent`` → how many keys its hashes fill."""


class _Place:
    """In place of one of faust's events: whose partition is written. A snapshot is due also where no event comes."""

    def __init__(self, message: Any) -> None:
        self.message = message


class Snapshots:
    """The table of all partitions that this worker owns."""

    def __init__(
        self, app: faust.App, partitions: int, kafka: Mapping[str, str], seal_key: bytes | None = None
    ) -> None:
        """``seal_key`` proves what this ledger wrote; None: whatever is there is believed."""
        self._seal_key = seal_key
        self._seals: dict[int, Seal] = {}
        self._app = app
        self._ends = EndOffsets(kafka)
        self._owned: dict[int, OwnedKeys] = {}
        self._pieces: dict[int, Pieces] = {}
        self._table: Any = app.Table(
            "snapshots",
            partitions=partitions,
            key_type=bytes,
            value_type=bytes,
            options={"write_buffer_size": 8 << 20, "block_cache_size": 8 << 20, "max_open_files": 64},
        )

    def connect(self) -> None:
        """Begins to connect to the broker, and waits for nothing."""
        self._ends.connect()

    async def load(self, partition: int, limits: Limits) -> tuple[PartitionState, dict[str, int]]:
        """The partition's last snapshot and the fact offsets to fold on from; an empty book where there is none."""
        await self._app.tables.wait_until_recovery_completed()
        try:
            return self._decoded(partition, limits)
        except NotProven as error:
            log.error("partition %d: snapshot not believed: %s; folding all facts", partition, error)
            return PartitionState(limits=limits), {}
        except Exception as error:  # noqa: BLE001 — written by another version of this code, or by somebody else
            # the facts have it all
            log.warning("partition %d: snapshot not readable (%s), folding all facts", partition, error)
            return PartitionState(limits=limits), {}

    def _decoded(self, partition: int, limits: Limits) -> tuple[PartitionState, dict[str, int]]:
        book = PartitionState(limits=limits)
        stored = self._believed(partition)
        owned = self._owned[partition] = OwnedKeys(partition, successor(stored, new_id()[-12:]))
        metas = {key: _meta(value) for key, value in stored.items() if Key.of(key).kind == META}
        newest = max(metas, key=lambda key: (metas[key].applied, sum(metas[key].offsets.values())), default="")
        if not newest:
            owned.chosen({}, stored)
            return book, {}
        meta = metas[newest]
        book.applied, book.agents, book.contracts = meta.applied, meta.agents, meta.contracts
        book.keys, book.identity_required = meta.keys, meta.identity_required
        book.removed, book.contract_removed_at = meta.removed, meta.contract_removed_at
        book.refused, book.refused_at = meta.refused, meta.refused_at
        book.breakers = meta.breakers
        for field in RIGHTS:
            setattr(book, field, getattr(meta, field))
        book.spent = _spent_of(meta, OwnedKeys(partition, Key.of(newest).token), stored)
        ended: dict[RunId, tuple[int, EndedRun]] = {}
        best: dict[RunId, tuple[tuple[int, int, str], str]] = {}
        """Run → how new its record is, and its key."""
        for key, value in stored.items():
            kind, token, name = Key.of(key)
            run_id = RunId(name)
            if kind == LIVE and run_id not in ended:
                run = msgspec.msgpack.decode(value, type=Run)
                if run_id not in best or (run.seq, 0, token) > best[run_id][0]:
                    book.runs[run.run_id] = run
                    best[run.run_id] = (run.seq, 0, token), key
            elif kind == ENDED:
                order, finished = msgspec.msgpack.decode(value, type=tuple[int, EndedRun])
                book.runs.pop(run_id, None)
                if run_id not in ended or (finished.seq, order, token) > best[run_id][0]:
                    ended[run_id] = order, finished
                    best[run_id] = (finished.seq, order, token), key
        in_order = sorted(ended.items(), key=lambda entry: entry[1][0])
        book.finished = {run_id: finished for run_id, (_, finished) in in_order[-FINISHED_LIMIT:]}
        owned.chosen({run_id: key for run_id, (_, key) in best.items()}, stored)
        return book, meta.offsets

    def _believed(self, partition: int) -> dict[str, bytes]:
        """The partition's entries, whole. Raises NotProven, and then all of them go with the next snapshot; KeyError
        where a piece is missing."""
        pieces = self._pieces[partition] = Pieces(partition)
        self._owned[partition] = OwnedKeys(partition, successor((), new_id()[-12:]))
        entries = dict(self._stored(partition))
        if self._seal_key is not None:
            seal = self._seals[partition] = Seal(self._seal_key, partition)
            seal.check(entries)
        return pieces.join(entries)

    def _stored(self, partition: int) -> Iterator[tuple[str, bytes]]:
        prefix = f"{partition}/"
        for key, value in self._table.items():
            text = key.decode(errors="replace") if isinstance(key, bytes) else key
            if value and text.startswith(prefix):
                yield text, value

    def ends(self, partition: int) -> dict[str, int]:
        """The present ends of the partition's fact topics, of what is committed. Blocks. Raises KafkaException."""
        return {topic: end for (topic, _), end in self._ends.of((name, partition) for name in FACT_TOPICS).items()}

    def ends_of_all(self, partition: int) -> dict[str, int]:
        """The present ends of the partition's fact topics and of its commands, of all there is, committed or not.
        Blocks. Raises KafkaException."""
        places = [(topic, partition) for topic in (*FACT_TOPICS, COMMANDS)]
        return {topic: end for (topic, _), end in self._ends.of(places, committed=False).items()}

    def capture(
        self, partition: int, book: PartitionState, dirty: Mapping[RunId, int], offsets: dict[str, int]
    ) -> Changes:
        """The table changes that make a snapshot, encoded now; ``dirty`` are the runs touched since the last one, with
        the offset that touched them last."""
        owned = self._owned[partition]
        changes: Changes = []
        gone: list[str] = []
        for run_id, touched in dirty.items():
            if (run := book.runs.get(run_id)) is not None:
                key, replaced = owned.live(run_id)
                changes.append((key, msgspec.msgpack.encode(run)))
            elif run_id in book.finished:
                key, replaced = owned.ended(run_id)
                changes.append((key, msgspec.msgpack.encode((touched, book.finished[run_id]))))
            else:
                replaced = owned.forgotten(run_id)
            gone += replaced
        spent = _spent(owned, book)
        changes += [change for keys in spent.values() for change in keys]
        meta = Meta(
            applied=book.applied,
            offsets=offsets,
            agents=book.agents,
            contracts=book.contracts,
            contract_removed_at=book.contract_removed_at,
            removed=book.removed,
            keys=book.keys,
            breakers=book.breakers,
            identity_required=book.identity_required,
            refused=book.refused,
            refused_at=book.refused_at,
            **{field: getattr(book, field) for field in RIGHTS},
            spent={window: len(keys) for window, keys in spent.items()},
        )
        changes.append((owned.key(META), msgspec.msgpack.encode(meta)))
        # after the meta record, which says that nobody needs them any more
        gone += owned.forgotten_ends(book.finished)
        gone += [*owned.spent_gone(key for keys in spent.values() for key, _ in keys), *owned.left_over()]
        changes += [(key, None) for key in dict.fromkeys(gone)]
        cut = self._pieces.setdefault(partition, Pieces(partition)).cut(changes)
        return self._seals[partition].seal(cut) if partition in self._seals else cut

    async def write(self, partition: int, changes: Changes) -> None:
        """Writes captured changes, a slice at a time. Call it in a task of its own: faust takes the changelog's
        partition from the event that the task is in."""
        place = _Place(SimpleNamespace(topic=COMMANDS, partition=partition))
        streams._current_event.set(weakref.ref(cast(Any, place)))
        began = time.monotonic()
        for number, (key, value) in enumerate(changes, 1):
            if value is None:
                with contextlib.suppress(KeyError):
                    del self._table[key.encode()]
            else:
                self._table[key.encode()] = value
            if number % SLICE == 0:
                await self._sent()
        del place  # held until here: faust keeps a weak reference only
        log.info("partition %d: snapshot of %d keys in %.2f s", partition, len(changes), time.monotonic() - began)

    async def _sent(self) -> None:
        """Returns when not many of the changelog's records wait for the broker: faust's buffer has no bound."""
        await asyncio.sleep(0)
        buffer = getattr(getattr(self._app, "producer", None), "buffer", None)
        while buffer is not None and buffer.size > PENDING:
            buffer.message_sent.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(buffer.message_sent.wait(), 1.0)


def _spent(owned: OwnedKeys, book: PartitionState) -> dict[int, Changes]:
    """By window, its hashes in keys of a size that the changelog takes."""
    found: dict[int, Changes] = {}
    for window, hashes in book.spent.items():
        ordered = list(hashes)
        found[window] = [
            (
                owned.key(SPENT, f"{window}/{number}"),
                msgspec.msgpack.encode(ordered[start : start + HASHES_A_KEY]),
            )
            for number, start in enumerate(range(0, len(ordered), HASHES_A_KEY))
        ]
    return found


def _spent_of(meta: Meta, owner: OwnedKeys, stored: Mapping[str, bytes]) -> dict[int, dict[int, None]]:
    """The records of ``_spent``. Raises KeyError where a part is missing."""
    found: dict[int, dict[int, None]] = {}
    for window, count in meta.spent.items():
        parts = (stored[owner.key(SPENT, f"{window}/{number}")] for number in range(count))
        found[window] = dict.fromkeys(each for part in parts for each in msgspec.msgpack.decode(part, type=list[int]))
    return found


def _meta(value: bytes) -> Meta:
    return msgspec.msgpack.decode(value, type=Meta)
