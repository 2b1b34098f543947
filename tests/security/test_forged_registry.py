"""A dishonest writer to the registry's topics, on the real platform: what can be called is what an operator said."""

from __future__ import annotations

import pytest

from agents_sdk import Settings
from agents_sdk.core.registry import CapabilityManifest, Switch
from agents_sdk.follower import read_catalogue
from agents_sdk.registrar import Registrar
from agents_sdk.topics import CAPABILITIES, SWITCHES
from agents_sdk.wire.proof import PROOF, TOMBSTONE, Place, Prover, subkey
from tests.support.dishonest import Dishonest, EncodedRecord, one_agents_key
from tests.support.live_agents import own

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def manifest(name: str, text: str, at: int) -> CapabilityManifest:
    return CapabilityManifest(name=name, manifest=text, source="applied", applied_at=at)


def test_registry_is_changed_by_nobody_but_who_may(attacker: Dishonest, settings: Settings) -> None:
    """Tombstones without a proof, or with one for another key; older manifests and switches copied behind newer ones or
    behind their removal; and a removal copied behind what was applied after it."""
    registrar = Registrar(settings, attacker.codec)
    kept, gone = own("kept"), own("gone")
    registrar.put([manifest(kept, "1", 10), manifest(gone, "1", 10)])
    registrar.put([manifest(kept, "2", 20), Switch(target=kept, state="enabled", set_at=10)])
    registrar.put([Switch(target=kept, state="disabled", set_at=20)])
    registrar.remove(CapabilityManifest, gone, 30)
    registrar.remove(CapabilityManifest, kept, 30)
    registrar.put([manifest(kept, "3", 40)])

    mine = {kept.encode(), gone.encode()}
    copies = [each for topic in (CAPABILITIES, SWITCHES) for each in attacker.read(topic) if each.key in mine]
    current = [each for each in copies if each.value and b"3" in each.value[-60:] and each.topic == CAPABILITIES]
    of_gone = next(each for each in copies if each.key == gone.encode() and each.value is None)
    key = one_agents_key(settings)
    proof = Prover(subkey(key, TOMBSTONE)).prove(CAPABILITIES, 0, kept.encode(), None, Place(10**18))
    forged = [
        EncodedRecord(CAPABILITIES, 0, -1, kept.encode(), None, []),
        EncodedRecord(SWITCHES, 0, -1, kept.encode(), None, []),
        EncodedRecord(CAPABILITIES, 0, -1, kept.encode(), None, [(PROOF, proof)]),
        EncodedRecord(CAPABILITIES, 0, -1, kept.encode(), None, of_gone.headers),
        EncodedRecord(SWITCHES, 0, -1, kept.encode(), None, of_gone.headers),
        *(each._replace(topic=CAPABILITIES) for each in copies if each.topic == SWITCHES),
        *(each._replace(key=b"under another key") for each in copies),
    ]
    attacker.write(*(each for each in copies if each not in current), *forged)

    catalogue = read_catalogue(settings, attacker.codec)
    assert catalogue.manifests[kept].record.manifest == "3"
    assert catalogue.switch(kept).state == "disabled"
    assert gone not in catalogue.manifests
    assert "under another key" not in catalogue.manifests
