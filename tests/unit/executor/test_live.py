"""The executor's registry: a manifest of a newer release does not undo what is known."""

from __future__ import annotations

import msgspec
import pytest

from agents_sdk.core.registry import CapabilityManifest, Switch
from agents_sdk.settings_model import Settings
from backplane.executor.live import LiveRegistry
from backplane.manifests import publish
from backplane.manifests.registry import RegisteredCapability, UnknownCapability
from tests.properties.test_codec import CODEC
from tests.support.calls import capability


def took(live: LiveRegistry, record: CapabilityManifest, offset: int) -> None:
    """What the follower does when a record comes."""
    live._follower.catalogue.take(record, offset, 0.0)
    live._changed([(CapabilityManifest, record.name)])


@pytest.mark.parametrize("text", ['{"name":"probe","new_key":1}', "[]", "{", '{"name":"probe"}'])
def test_what_cannot_be_read_is_passed_over(text: str) -> None:
    """The version before goes on to count, until there is one that can be read; a removed one is gone."""
    live = LiveRegistry(Settings(), CODEC)
    first = publish.record_of(RegisteredCapability(capability(), ""), "applied", "")
    took(live, first, 3)
    took(live, msgspec.structs.replace(first, manifest=text), 4)
    assert live.registry.get("probe").version == 4

    took(live, publish.record_of(RegisteredCapability(capability(timeout_seconds=5), ""), "applied", ""), 7)
    assert (live.registry.get("probe").version, live.registry.get("probe").capability.timeout_seconds) == (8, 5)
    live._follower.catalogue.drop(CapabilityManifest, "probe")
    live._changed([(CapabilityManifest, "probe")])
    with pytest.raises(UnknownCapability):
        live.registry.get("probe")


def test_what_counts_is_said_again_where_something_older_lies_behind_it() -> None:
    """Compaction would keep the older one alone. Records as they count, removals with their time; until it is done."""
    live = LiveRegistry(Settings(), CODEC)
    first = msgspec.structs.replace(
        publish.record_of(RegisteredCapability(capability(), ""), "applied", ""), applied_at=10
    )
    off = Switch(target="probe", state="disabled", set_at=20, signature=b"signed")
    said: list[CapabilityManifest | Switch] = [first, off]
    for offset, record in enumerate(said):
        live._follower.catalogue.take(record, offset, 0.0)
    assert live.outlived() == ([], [])
    live._follower.catalogue.take(msgspec.structs.replace(off, state="enabled", set_at=15), 2, 0.0)
    live._follower.catalogue.drop(CapabilityManifest, "probe", 30)
    live._follower.catalogue.take(msgspec.structs.replace(first, applied_at=12), 4, 0.0)

    again = live.outlived()
    assert again == ([msgspec.structs.replace(off, signature=b"")], [(CapabilityManifest, "probe", 30)])
    assert live.outlived() == again, "not before the broker has it"
    live.said(*again)
    assert live.outlived() == ([], [])
