"""The executor's registry: a manifest of a newer release does not undo what is known."""

from __future__ import annotations

import msgspec
import pytest

from agents_sdk.core.registry import CapabilityManifest
from agents_sdk.settings_model import Settings
from services.capabilities import publish
from services.capabilities.live import LiveRegistry
from services.capabilities.registry import Contract, UnknownCapability
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
    first = publish.record_of(Contract(capability(), ""), "applied", "")
    took(live, first, 3)
    took(live, msgspec.structs.replace(first, manifest=text), 4)
    assert live.registry.get("probe").version == 4

    took(live, publish.record_of(Contract(capability(timeout_seconds=5), ""), "applied", ""), 7)
    assert (live.registry.get("probe").version, live.registry.get("probe").capability.timeout_seconds) == (8, 5)
    live._follower.catalogue.drop(CapabilityManifest, "probe")
    live._changed([(CapabilityManifest, "probe")])
    with pytest.raises(UnknownCapability):
        live.registry.get("probe")
