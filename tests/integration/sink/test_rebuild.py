"""``backplane analytics rebuild`` on a platform that runs: the supervisor's own sink empties its store and fills it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from agents_sdk.settings import Settings
from agents_sdk.topics import TOPIC_OF_FACT
from agents_sdk.wire.registry import connect_codec
from backplane.cli import app as cli
from backplane.platform.platform import LocalPlatform
from backplane.runtime.clients import producer
from backplane.store.queries import connect_store
from tests.support.eventually import assert_eventually
from tests.support.prepared import Prepared
from tests.support.stories import Story, article

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, prepared: Prepared) -> Iterator[LocalPlatform]:
    """One whose store is all that this module's facts are in: what others left would be compared as well."""
    with LocalPlatform(
        prepared.copy(tmp_path_factory.mktemp("platform")), parts=("kafka", "registry", "topics", "sink")
    ) as running:
        yield running


def test_a_rebuild_under_the_supervisor_gives_the_same_rows_and_the_sink_goes_on(platform: LocalPlatform) -> None:
    """Emptied by one command while facts come, it has every row of before, column for column, and then those that
    came meanwhile and after; Kafka held against it finds nothing missing."""
    settings = platform.settings
    told = [_tell(settings) for _ in range(3)]
    _wait_for(settings, told)
    before, tables, pid = _rows(settings), _tables(settings), platform.pid("sink")
    told.append(_tell(settings))

    assert _backplane(platform, "analytics", "rebuild", "--yes") == 0

    assert platform.pid("sink") != pid
    assert not _tables(settings) & tables, "the tables are those of before: nothing was rebuilt"
    _wait_for(settings, told)
    after = _rows(settings)
    assert {name: [row for row in rows if row in after[name]] for name, rows in before.items()} == before
    told.append(_tell(settings))
    _wait_for(settings, told)
    assert_eventually(lambda: _balanced(platform), 30)


def _balanced(platform: LocalPlatform) -> None:
    assert _backplane(platform, "reconcile") == 0  # else a moment behind: the sink has yet to say how far it is


def _backplane(platform: LocalPlatform, *arguments: str) -> int:
    return cli.run([*arguments, "--data-dir", str(platform.layout.data_dir)])


def _tell(settings: Settings) -> Story:
    """A run of its own, and a record that is no fact, in Kafka."""
    story = article(str(uuid.uuid4()), int(time.time() * 1_000_000))
    codec, out = connect_codec(settings), producer(settings.kafka)
    for fact in story.facts:
        out.produce(TOPIC_OF_FACT[type(fact)], key=fact.run_id, value=codec.encode(fact))
    out.produce("bp.state", key=b"x", value=b"no fact")
    assert out.flush(30) == 0
    return story


def _wait_for(settings: Settings, told: list[Story]) -> None:
    """Until the store has all of it and nothing else."""

    def there() -> None:
        with connect_store(settings) as client:
            [(rows,)] = client.query("SELECT count() FROM events").result_rows
        assert rows == sum(len(story.facts) + 1 for story in told)

    assert_eventually(there, 60)


def _rows(settings: Settings) -> dict[str, list[Any]]:
    """Every row of both tables, with all its columns."""
    with connect_store(settings) as client:
        return {
            table: list(client.query(f"SELECT * FROM {table} ORDER BY ALL").result_rows)
            for table in ("events", "edges")
        }


def _tables(settings: Settings) -> set[Any]:
    """Which tables they are: one that is made anew is another, whatever its name."""
    with connect_store(settings) as client:
        found = client.query(
            "SELECT uuid FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%Tree'"
        )
        return {row[0] for row in found.result_rows}
