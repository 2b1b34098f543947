"""The registry's records: what can be called, what is switched off, and who is there to ask. Shapes only.

Field by field these are Avro records of ``schemas/avro`` (a test proves the two equal). They are no facts. Each
describes the present, replaces the record of the same key before, and a tombstone takes it back.
"""

from __future__ import annotations

from typing import Final

import msgspec

SOURCES: Final = ("built-in", "settings", "applied")
STATES: Final = ("enabled", "disabled", "paused")
POLICIES: Final = ("wait", "fail")
"""Treatment of calls to a paused capability."""


class CapabilityManifest(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A capability as it can be called from here on."""

    name: str
    manifest: str
    source: str
    applied_by: str = ""
    applied_at: int = 0
    signature: bytes = b""


class Switch(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Whether a capability, or one of its providers, may be asked; without one it may."""

    target: str
    state: str
    policy: str = ""
    reason: str = ""
    set_by: str = ""
    set_at: int = 0
    signature: bytes = b""


class ExecutorBeat(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An executor lives, and says which providers it can really ask."""

    executor: str
    period_ms: int
    beat_at: int
    ready: list[str] = msgspec.field(default_factory=list)
    lacking: list[str] = msgspec.field(default_factory=list)
    registry_offset: int = 0
    signature: bytes = b""


Record = CapabilityManifest | Switch | ExecutorBeat
