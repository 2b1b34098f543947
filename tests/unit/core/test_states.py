"""State: versions, guards, scopes, reads as of a version."""

from __future__ import annotations

import hashlib
from typing import Any
from unittest.mock import patch

import msgspec
import pytest

from tests.support.ledger_desk import Desk, answer, detail, kinds


@pytest.fixture
def desk() -> Desk:
    desk = Desk(max_value_bytes=20)
    desk.start()
    return desk


def test_versions_count_from_one_and_carry_hash_and_size(desk: Desk) -> None:
    """Each write is the next version of its key, with SHA-256 and bytes of its value."""
    desk.send("SetState", key="k", value="1")
    step = desk.send("SetState", key="k", value='"ä"')
    written = step.facts[0]
    assert (written.version, written.size) == (2, 4)  # type: ignore[attr-defined]
    assert written.value_hash == hashlib.sha256('"ä"'.encode()).hexdigest()  # type: ignore[attr-defined]
    assert answer(step).version == 2


def test_a_guarded_write_at_another_version_is_refused_with_the_current_one(desk: Desk) -> None:
    """Compare-and-set names the version it found."""
    desk.send("SetState", key="k", value="1")
    step = desk.send("SetState", key="k", value="2", guarded=True, expected_version=4)
    assert (answer(step).status, answer(step).code) == ("refused", "version_conflict")
    assert detail(step) == {"key": "k", "current_version": 1, "expected_version": 4}
    assert answer(desk.send("SetState", key="k", value="2", guarded=True, expected_version=1)).version == 2


def test_a_deleted_key_can_be_created_again(desk: Desk) -> None:
    """expected_version 0 means absent: never written, or deleted; versions go on counting."""
    desk.send("SetState", key="k", value="1")
    assert answer(desk.send("SetState", key="k", value="2", guarded=True)).code == "version_conflict"
    assert answer(desk.send("DeleteState", key="k")).version == 2
    assert answer(desk.send("SetState", key="k", value="2", guarded=True)).version == 3


def test_a_read_tells_absent_deleted_and_written_apart(desk: Desk) -> None:
    """Version 0 for never written; a version without value for deleted; else version and value."""
    never = answer(desk.send("GetState", key="k"))
    desk.send("SetState", key="k", value="1")
    written = answer(desk.send("GetState", key="k"))
    desk.send("DeleteState", key="k")
    deleted = answer(desk.send("GetState", key="k"))
    assert [(r.version, r.value) for r in (never, written, deleted)] == [(0, ""), (1, "1"), (2, "")]


def test_a_read_as_of_a_version_gives_the_value_of_then(desk: Desk) -> None:
    """Earlier versions stay readable; one that never was is refused."""
    for value in "123":
        desk.send("SetState", key="k", value=value)
    assert answer(desk.send("GetState", key="k", version=2)).value == "2"
    for version in (4, -1):
        assert answer(desk.send("GetState", key="k", version=version)).code == "invalid_command"


def test_history_has_every_version_and_who_wrote_it(desk: Desk) -> None:
    """GetHistory lists writes and deletions, oldest first."""
    desk.send("SetState", key="k", value="1", agent="a")
    desk.send("DeleteState", key="k", agent="b")
    rows = msgspec.json.decode(desk_value(desk, "GetHistory", "k"))
    assert [(row["version"], row["agent"], row["deleted"], row["size"]) for row in rows] == [
        (1, "a", False, 1),
        (2, "b", True, 0),
    ]


def desk_value(desk: Desk, kind: str, key: str) -> str:
    desk.book.limits = msgspec.structs.replace(desk.book.limits, max_value_bytes=5_000)
    return answer(desk.send(kind, key=key)).value


def test_a_list_has_the_live_keys_under_a_prefix(desk: Desk) -> None:
    """Keys come sorted, with their versions; deleted ones are left out."""
    for key in ("b.2", "b.1", "c", "b.3"):
        desk.send("SetState", key=key, value="1")
    desk.send("DeleteState", key="b.3")
    assert desk_value(desk, "ListState", "b.") == '[{"key":"b.1","version":1},{"key":"b.2","version":1}]'


def test_a_list_shows_an_agent_only_the_keys_it_may_read(desk: Desk) -> None:
    """Listing is reading: names of other keys do not leak."""
    desk.register("a", reads=["b.*"])
    for key in ("b.1", "secret"):
        desk.send("SetState", key=key, value="1")
    desk.book.limits = msgspec.structs.replace(desk.book.limits, max_value_bytes=5_000)
    step = desk.send("ListState", agent="a", key="")
    assert answer(step).value == '[{"key":"b.1","version":1}]'


def test_an_answer_too_large_for_a_record_is_refused_as_oversize(desk: Desk) -> None:
    """A list or history above the limit says so instead of breaking the reply."""
    desk.send("SetState", key="a long key", value="1")
    step = desk.send("ListState", key="")
    assert (answer(step).code, detail(step)["limit"]) == ("oversize", 20)


@pytest.mark.parametrize(
    ("kind", "rule"),
    [("SetState", "writes"), ("DeleteState", "writes"), ("GetState", "reads"), ("GetHistory", "reads")],
)
def test_a_scope_refusal_names_the_rule_and_what_it_allows(desk: Desk, kind: str, rule: str) -> None:
    """An agent that oversteps learns which line of its declaration to change."""
    desk.register("a", **{rule: ["mine.*"]})
    value = {"value": "1"} if kind == "SetState" else {}
    step = desk.send(kind, agent="a", key="other", **value)
    assert answer(step).code == "scope"
    assert detail(step) == {"rule": rule, "key": "other", "allowed": ["mine.*"]}
    assert kinds(desk.send(kind, agent="a", key="mine.x", **value)) != ["CommandRefused"]


def test_an_oversize_value_is_refused_by_its_bytes(desk: Desk) -> None:
    """The limit counts bytes of UTF-8, not characters."""
    step = desk.send("SetState", key="k", value='"' + "ä" * 10 + '"')
    assert (answer(step).code, detail(step)) == ("oversize", {"size": 22, "limit": 20})
    assert answer(desk.send("SetState", key="k", value='"' + "ä" * 9 + '"')).status == "ok"


@pytest.mark.parametrize("key", ["", "k" * 513])
def test_a_key_has_1_to_512_characters(desk: Desk, key: str) -> None:
    """A key that is none, or too long for a row and a URL, is refused."""
    assert answer(desk.send("SetState", key=key, value="1")).code == "invalid_command"


def test_a_read_as_of_a_time_gives_what_was_current_then(desk: Desk) -> None:
    """The newest version not later than the time; nothing before the first; the current one for a time to come."""
    for value in "123":  # at 1,000, 2,000 and 3,000 µs
        desk.send("SetState", key="k", value=value)
    told = [answer(desk.send("GetState", key="k", at=at)) for at in (999, 1_000, 2_999, 10**15)]
    assert [(reply.version, reply.value) for reply in told] == [(0, ""), (1, "1"), (2, "2"), (3, "3")]
    both = answer(desk.send("GetState", key="k", at=1_000, version=1))
    assert (both.code, "not both" in both.message) == ("invalid_command", True)


def test_a_time_whose_version_is_forgotten_is_refused(desk: Desk) -> None:
    """What is no longer kept is not passed off as never written."""
    with patch("agents_sdk.core.ledger.evolve.HISTORY_LIMIT", 2):
        for value in "123":
            desk.send("SetState", key="k", value=value)
    assert answer(desk.send("GetState", key="k", at=2_000)).value == "2"
    assert answer(desk.send("GetState", key="k", at=1_000)).code == "invalid_command"


def test_several_keys_are_read_at_once_each_a_fact(desk: Desk) -> None:
    """One answer in the order asked, absent and deleted ones without a value, each read with its version and hash."""
    desk.book.limits = msgspec.structs.replace(desk.book.limits, max_value_bytes=5_000)
    desk.send("SetState", key='ä"🙂', value='{"a":[null]}')
    desk.send("SetState", key="gone", value="1")
    desk.send("DeleteState", key="gone")
    desk.send("SetState", key="null", value="null")
    step = desk.send("GetStates", key="", keys=['ä"🙂', "never", "gone", "null"])
    assert msgspec.json.decode(answer(step).value) == [
        {"key": 'ä"🙂', "value": {"a": [None]}, "version": 1},
        {"key": "never", "version": 0},
        {"key": "gone", "version": 2},
        {"key": "null", "value": None, "version": 1},
    ]
    reads: list[Any] = step.facts
    assert [(fact.kind, fact.version, fact.size, fact.batch) for fact in reads] == [
        ("StateRead", 1, 12, 4), ("StateRead", 0, 0, 4), ("StateRead", 2, 0, 4), ("StateRead", 1, 4, 4),
    ]  # fmt: skip
    assert reads[0].value_hash == hashlib.sha256(b'{"a":[null]}').hexdigest()
    assert answer(desk.again()) == answer(step)


def test_reading_several_keys_is_refused_as_a_whole(desk: Desk) -> None:
    """One key out of scope, none at all, one twice, too many, or more bytes than an answer has: no fact of a read."""
    desk.register("narrow", reads=["open"])
    desk.send("SetState", key="open", value='"12345678"')
    for keys, code in ((["open", "shut"], "scope"), ([], "invalid_command"), (["open"] * 2, "invalid_command")):
        step = desk.send("GetStates", key="", keys=keys, agent="narrow")
        assert (kinds(step), answer(step).code) == (["CommandRefused"], code)
    assert answer(desk.send("GetStates", key="", keys=[str(n) for n in range(1_001)])).code == "invalid_command"
    large = desk.send("GetStates", key="", keys=["open"])  # 20 bytes are allowed
    assert (answer(large).code, detail(large)) == ("oversize", {"size": 47, "limit": 20})
