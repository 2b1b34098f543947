"""Ids and places of facts."""

from __future__ import annotations

from tests.support.ledger_desk import Desk


def test_facts_of_a_command_follow_each_other_in_the_run() -> None:
    """run_seq counts on, the offset is the command's, and the first delivery is its own identity."""
    desk = Desk()
    desk.register("one", subscriptions=["run.started"])
    started, delivered = desk.start().facts
    assert (started.run_seq, delivered.run_seq) == (1, 2)
    assert started.command_offset == delivered.command_offset == 1
    assert delivered.delivery_id == delivered.event_id  # type: ignore[attr-defined]


def test_a_command_that_is_refused_the_second_time_gives_its_refusal_another_id() -> None:
    """Ids are unique though the command's is not: a late repeat after the run's end, or one call asked for twice."""
    desk = Desk()
    desk.start()
    desk.send("SetState", key="k", value="1")
    write = desk.sent[-1]
    desk.call()
    desk.again(reply_to="elsewhere")
    desk.send("CancelRun")
    desk.put(write)
    desk.put(write)
    event_ids = [fact.event_id for fact in desk.facts]
    assert len(set(event_ids)) == len(event_ids)
