"""What a command asks for is in its fingerprint, all of it."""

from __future__ import annotations

from typing import Any

from agents_sdk.core.commands import BODIES, BODY_OF_KIND, Command
from agents_sdk.core.ids import RunId
from agents_sdk.core.ledger import fingerprints


def test_no_two_commands_have_one_fingerprint() -> None:
    """Each field that is asked for is part of it, also where a text of one field could be that of two."""
    pairs: tuple[tuple[str, dict[str, Any], dict[str, Any]], ...] = (
        ("SetState", {"key": "k", "value": "1"}, {"key": "k", "value": "1", "guarded": True}),
        ("DeleteState", {"key": "k"}, {"key": "k", "guarded": True}),
        ("GetState", {"key": "k"}, {"key": "k", "version": 1}),
        ("GetStates", {"key": "", "keys": ["a", "b"]}, {"key": "", "keys": ["a1:b"]}),
        ("CallCapability", {"capability": "c", "params": "{}"}, {"capability": "c", "params": "{}", "config": "{}"}),
        ("Publish", {"name": "n" * 200, "data": "1"}, {"name": "n" * 201, "data": "1"}),
        ("Publish", {"name": "n" * 201, "data": "1"}, {"name": "n" * 202, "data": "1"}),
        ("StartChild", {"workflow": "w", "tags": ["a", "b"]}, {"workflow": "w", "tags": ["ab"]}),
    )
    for kind, one, other in pairs:
        body = BODY_OF_KIND[kind]
        envelope: dict[str, Any] = {
            "command_id": "c",
            "kind": kind,
            "run_id": RunId("r"),
            "agent": "a",
            "correlation_id": "",
        }
        made = [fingerprints.of(Command(**(envelope | {body: BODIES[body](**fields)}))) for fields in (one, other)]
        assert made[0] != made[1], (kind, made)
