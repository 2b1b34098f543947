"""A member that is taken out of its group leaves its partitions to the others at once."""

from __future__ import annotations

from typing import Any

import pytest

from agents_sdk import Settings
from agents_sdk.topics import COMMANDS
from agents_sdk.wire.consuming import consumer
from agents_sdk.wire.eviction import evict
from tests.support.eventually import assert_eventually
from tests.support.live_agents import own

pytestmark = pytest.mark.slow
SESSION_MS = 60_000
"""Longer than this test waits: no member is given up for its silence."""


def member(settings: Settings, group: str, instance: str) -> Any:
    """A static member that never commits."""
    made = consumer(
        {
            "group.id": group,
            "group.instance.id": instance,
            "session.timeout.ms": SESSION_MS,
            "heartbeat.interval.ms": 300,
            "enable.auto.commit": False,
            **settings.kafka,
        }
    )
    made.subscribe([COMMANDS])
    return made


def test_the_partitions_of_a_dead_member_go_to_the_others(settings: Settings) -> None:
    """Its session goes on for long; one that is not there, or no group at all, is fine."""
    group = own("evicted")
    dead, alive = member(settings, group, "of/one agent"), member(settings, group, "alive")

    def shared() -> None:
        for each in (dead, alive):
            each.poll(0.1)
        assert dead.assignment()
        assert alive.assignment()

    def has_all() -> None:
        alive.poll(0.1)
        assert len(alive.assignment()) == settings.topics.partitions

    try:
        assert_eventually(shared, 60)
        evict(settings.kafka, group, "of/one agent")
        evict(settings.kafka, group, "of/one agent")
        evict(settings.kafka, own("nogroup"), "nobody")
        assert_eventually(has_all, SESSION_MS / 2_000)
    finally:
        alive.close()
        dead.close()
