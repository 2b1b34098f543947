"""The registry's topics on a real broker: what is written is followed, signed by who may, and taken back."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agents_sdk.core.registry import CapabilityManifest, ExecutorBeat, Switch
from agents_sdk.follower import Follower
from agents_sdk.keys import make_master
from agents_sdk.registrar import Registrar, trust
from agents_sdk.settings_model import Identity, Settings
from agents_sdk.wire.codec import Codec
from agents_sdk.wire.registry import connect_codec

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def settings(broker: Any) -> Settings:
    """Of a broker, as somebody without keys sees it."""
    found: Settings = broker.settings
    return found.model_copy(update={"identity": Identity()})


@pytest.fixture(scope="module")
def codec(settings: Settings) -> Codec:
    return connect_codec(settings)


def manifest(name: str, text: str = "{}") -> CapabilityManifest:
    return CapabilityManifest(name=name, manifest=text, source="applied")


def read(settings: Settings, codec: Codec, **options: Any) -> Follower:
    follower = Follower(settings, codec, **options)
    follower.open()
    follower.close()
    return follower


def test_what_was_written_is_read_and_a_tombstone_takes_it_back(settings: Settings, codec: Codec) -> None:
    """Manifests, switches and beats by key; versions rise."""
    registrar = Registrar(settings, codec)
    registrar.put([manifest("kept", "1"), manifest("gone"), Switch(target="kept", state="paused", policy="wait")])
    first = read(settings, codec).catalogue.manifests["kept"].version
    registrar.put([manifest("kept", "2"), ExecutorBeat(executor="e", period_ms=60_000, beat_at=0, ready=["kept/x"])])
    registrar.remove(CapabilityManifest, "gone")

    catalogue = read(settings, codec).catalogue

    assert catalogue.manifests["kept"].record.manifest == "2"
    assert catalogue.manifests["kept"].version > first
    assert "gone" not in catalogue.manifests
    assert catalogue.switch("kept").policy == "wait"
    assert "e" in catalogue.beats


async def test_a_follower_is_told_of_what_comes(settings: Settings, codec: Codec) -> None:
    """On its event loop, after the catalogue has changed; a record that cannot be read is passed over."""
    follower = Follower(settings, codec)
    await asyncio.to_thread(follower.open)
    came: asyncio.Queue[tuple[str, str | None]] = asyncio.Queue()

    def changed(taken: Any) -> None:
        for _, key in taken:
            held = follower.catalogue.manifests.get(key)
            came.put_nowait((key, held.record.manifest if held else None))

    follower.follow(changed)
    try:
        registrar = Registrar(settings, codec)
        await asyncio.to_thread(registrar._write, [(CapabilityManifest, "new", b"noise", [])])
        await asyncio.to_thread(registrar.put, [manifest("new", "7")])
        async with asyncio.timeout(30):
            assert await came.get() == ("new", "7")
        await asyncio.to_thread(registrar.remove, CapabilityManifest, "new")
        async with asyncio.timeout(30):
            assert await came.get() == ("new", None)
        assert came.empty()
    finally:
        await asyncio.to_thread(follower.close)


def test_only_what_is_signed_by_the_platforms_key_counts(settings: Settings, codec: Codec, tmp_path: Path) -> None:
    """An executor with a key takes neither unsigned records nor those signed by another platform's key."""

    def with_master(name: str) -> Settings:
        return settings.model_copy(update={"identity": Identity(master_file=make_master(tmp_path / name))})

    ours, theirs = with_master("ours"), with_master("theirs")
    Registrar(settings, codec).put([manifest("unsigned"), Switch(target="unsigned", state="disabled")])
    Registrar(theirs, codec).put([manifest("forged")])
    Registrar(ours, codec).put([manifest("genuine"), Switch(target="genuine", state="disabled")])

    believed = read(settings, codec, trust=trust(ours)).catalogue

    names = {"unsigned", "forged", "genuine"}
    assert names & set(believed.manifests) == {"genuine"}
    assert names & set(believed.switches) == {"genuine"}
    assert names <= set(read(settings, codec, trust=trust(settings)).catalogue.manifests)
