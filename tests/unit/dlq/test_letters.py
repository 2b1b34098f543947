"""Which dead letters are open, and what they say."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from agents_sdk.core.facts import MessageEvent
from agents_sdk.wire.dead_letters import DeadLetter, dead_letter_headers, redrive_headers
from backplane.dlq.letters import LARGE_BYTES, MARK, REDRIVE_LIMIT, Letter, Raw, chosen, grouped, letters
from backplane.topics.examples import examples

RECORDS: dict[bytes, Any] = {
    example.case.encode(): example.build() for example in examples("MessageEvent")
} | {b"command": next(iter(examples("Command"))).build()}  # fmt: skip
DEAD = RECORDS[b"dead-lettered"]


def raw(offset: int, value: bytes | None, topic: str = "bp.inbox", stage: str = "handle", **about: Any) -> Raw:
    """A record of a dead-letter topic; its source is the topic, an inbox that of the reviewer."""
    source = "bp.inbox.reviewer" if topic == "bp.inbox" else topic
    headers = dead_letter_headers(DeadLetter(topic=source, stage=stage, message="no", **about))
    return Raw(f"dlq.{topic}", 1, offset, 0, b"run", value, [*headers])


def read(*records: Raw) -> list[Letter]:
    return letters(records, lambda value: RECORDS.get(value or b""))


def test_a_delivery_says_what_it_was() -> None:
    """Cause, agent, name and run are the fact's."""
    expired = msgspec.structs.replace(DEAD, cause="expired")
    (letter,) = letters([raw(7, b"x")], lambda _: expired)
    assert (letter.id, letter.cause, letter.agent, letter.name) == (
        "bp.inbox/1/7",
        "expired",
        DEAD.recipient,
        DEAD.name,
    )
    assert (letter.run, letter.delivery_id) == (DEAD.run_id, DEAD.delivery_id)


def test_what_cannot_be_decoded_is_told_from_its_headers() -> None:
    """The run is its key, the agent that of its inbox."""
    (letter,) = read(raw(0, b"garbage", stage="decode"))
    assert (letter.cause, letter.run, letter.agent, letter.record) == ("undecodable", "run", "reviewer", None)
    (letter,) = read(raw(0, b"command", topic="bp.commands", stage="decide"))
    assert (letter.cause, letter.agent) == ("refused", RECORDS[b"command"].agent)


def test_a_letter_is_used_up_by_the_fact_that_says_so_or_by_its_mark() -> None:
    """Others of the same run or offset elsewhere are not."""
    redriven = next(value for value, record in RECORDS.items() if getattr(record, "kind", "") == "MessageRedriven")
    assert isinstance(RECORDS[redriven], MessageEvent)
    assert RECORDS[redriven].delivery_id == DEAD.delivery_id
    assert read(raw(0, b"dead-lettered"), raw(1, redriven)) == []
    mark = Raw("dlq.bp.commands", 1, 9, 0, b"run", None, [(MARK, b"4")])
    left = read(
        raw(4, b"x", topic="bp.commands"), raw(5, b"x", topic="bp.commands"), raw(4, b"x", topic="bp.runs"), mark
    )
    assert [letter.id for letter in left] == ["bp.commands/1/5", "bp.runs/1/4"]


def test_letters_are_chosen_and_counted() -> None:
    """By cause, by either name of the topic, by run; counted by what is asked for, the most first."""
    found = read(raw(0, b"dead-lettered"), raw(1, b"x", stage="decode"), raw(2, b"x", topic="bp.runs", stage="decode"))
    assert [letter.raw.offset for letter in chosen(found, cause="undecodable")] == [1, 2]
    for topic, expected in (
        ("bp.inbox.reviewer", [0, 1]),
        ("dlq.bp.inbox", [0, 1]),
        ("bp.runs", [2]),
        ("bp.calls", []),
    ):
        assert [letter.raw.offset for letter in chosen(found, topic=topic)] == expected
    assert [letter.raw.offset for letter in chosen(found, run=DEAD.run_id)] == [0]
    assert grouped(found, "topic") == [("bp.inbox.reviewer", 2), ("bp.runs", 1)]
    assert grouped(found, "cause")[0] == ("undecodable", 2)


@pytest.mark.parametrize(("topic", "count", "why"), [
    ("bp.commands", 0, ""), ("bp.inbox", 0, ""), ("bp.runs", 0, "lies in bp.runs still"),
    ("bp.commands", REDRIVE_LIMIT, f"redriven {REDRIVE_LIMIT} times"),
])  # fmt: skip
def test_what_cannot_be_put_back_says_why(topic: str, count: int, why: str) -> None:
    """A fact lies in its topic still; what died each time is not tried for ever."""
    (letter,) = read(raw(0, b"x", topic=topic, stage="decode", redrive_count=count))
    assert why in letter.not_redrivable()
    assert bool(letter.not_redrivable()) == bool(why)


def test_a_record_that_is_redriven_and_dies_again_has_counted() -> None:
    """The guard against loops goes by the headers that a redrive writes."""
    record = raw(0, b"x", topic="bp.commands", stage="decode")
    for _ in range(REDRIVE_LIMIT):
        again = redrive_headers(record.headers)
        headers = dead_letter_headers(DeadLetter(topic="bp.commands", stage="decode"), again)
        record = msgspec.structs.replace(record, headers=headers)
    (letter,) = read(record)
    assert "mend what it dies of" in letter.not_redrivable()


def test_a_letter_that_was_discarded_is_open_no_more() -> None:
    """A delivery in a run that goes on or has ended, and a call; by the fact beside it."""
    for kind in ("discarded", "discarded-after-its-run"):
        assert RECORDS[kind.encode()].delivery_id == DEAD.delivery_id
        assert read(raw(0, b"dead-lettered"), raw(1, kind.encode())) == []
    call = next(each.build() for each in examples("CallEvent") if each.datum["kind"] == "CallFailed")
    given_up = msgspec.structs.replace(call, kind="CallDiscarded")
    records = {b"failed": call, b"discarded": given_up}
    found = letters(
        [raw(0, b"failed", "bp.calls", "execute"), raw(1, b"discarded", "bp.calls")], lambda v: records[v or b""]
    )
    assert found == []


def test_a_list_has_bounds_whatever_the_letters_hold() -> None:
    """A large letter is listed without its value and headers; read by its id it is whole. What says that it is used up
    counts for it as well."""
    big = Raw(
        "dlq.bp.commands",
        1,
        3,
        0,
        b"k" * 9_000,
        b"v" * 2_000_000,
        [("h" * 5_000, b"x" * 5_000), ("__dlq.errors.topic", b"t" * 5_000)],
    )
    small = raw(4, b"command", topic="bp.commands", stage="decide")
    cut, kept = letters([big, small], lambda value: RECORDS.get(value or b""), whole=False)
    assert cut.cut
    assert not kept.cut
    assert kept.record is not None
    assert len(msgspec.msgpack.encode([cut.raw, cut.run, cut.agent, cut.name])) + len(str(cut.about)) < LARGE_BYTES
    assert cut.id == letters([big], lambda _: None)[0].id
    mark = Raw("dlq.bp.commands", 1, 9, 0, b"run", None, [(MARK, b"3")])
    assert letters([big, mark], lambda _: None, whole=False) == []
    assert [one.raw.offset for one in letters([big, small], lambda _: None, lambda one: one.offset == 4)] == [4]


def test_a_parked_delivery_is_a_letter_until_somebody_decides() -> None:
    """With its difference; it may be parked again, and what buries it is a letter of its own."""
    (letter,) = read(raw(0, b"parked"))
    assert (letter.parked, letter.cause, letter.delivery_id) == (True, "diverged", DEAD.delivery_id)
    assert (letter.difference["recorded"].split()[0], letter.difference["asked"]) == ("SetState", "GetState config")
    for decided in (b"continued", b"restarted"):
        assert read(raw(0, b"parked"), raw(1, decided)) == []
        (again,) = read(raw(0, b"parked"), raw(1, decided), raw(2, b"parked"))
        assert again.raw.offset == 2
    (dead,) = read(raw(0, b"parked"), raw(1, b"dead-lettered"))
    assert (dead.raw.offset, dead.parked) == (1, False)
    ended = msgspec.structs.replace(RECORDS[b"parked"], kind="DeliveryCancelled")
    assert (
        letters([raw(0, b"parked"), raw(1, b"x")], lambda value: ended if value == b"x" else RECORDS[value or b""])
        == []
    )
