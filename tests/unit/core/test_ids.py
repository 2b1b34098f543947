"""Ids and hashes as functions of values."""

from __future__ import annotations

import uuid

from agents_sdk.core import ids


def test_an_id_derives_as_rfc_9562_has_it() -> None:
    """Within a UUID it is plain UUIDv5; within any other text, via Backplane's namespace."""
    parent = "0193f1d1-1e6e-7b5a-9d3e-000000000000"
    assert ids.derive(parent, "0") == str(uuid.uuid5(uuid.UUID(parent), "0"))
    assert ids.derive("", "0") != ids.derive("a", "0") != ids.derive("a", "1")


def test_canonical_json_has_sorted_keys_and_no_white_space() -> None:
    """Equal values give equal text."""
    assert ids.canonical({"b": [1.5, None], "a": "ä"}) == '{"a":"ä","b":[1.5,null]}'


def test_a_keyed_id_is_the_same_each_time_and_nobody_elses() -> None:
    """With the secret it follows from parent and name; without it, nobody can tell."""
    one = ids.keyed(b"s" * 32, "parent", "0")
    assert one == ids.keyed(b"s" * 32, "parent", "0")
    others = [ids.keyed(b"t" * 32, "parent", "0"), ids.keyed(b"s" * 32, "parent", "1"), ids.derive("parent", "0")]
    others += [ids.keyed(b"s" * 32, "paren", "t/0"), ids.keyed(b"s" * 32, "other", "0")]
    assert len({one, *others}) == 1 + len(others)
    assert ids.keyed(b"", "parent", "0") == ids.derive("parent", "0")
