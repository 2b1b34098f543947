"""The words and the document of a replay's verdict."""

from __future__ import annotations

from agents_sdk.core.replay import Difference, Verdict
from backplane.cli.replay import as_document, verdict_lines


def verdict(difference: Difference | None = None, replayed: str = "aa") -> Verdict:
    return Verdict(commands=3, facts=4, recorded_state_hash="aa", replayed_state_hash=replayed, difference=difference)


def test_an_identical_replay_is_told_in_three_lines() -> None:
    """Facts compared, the state's hash, the verdict."""
    assert verdict_lines(verdict()) == [
        "compared  4 facts, decided again from 3 commands",
        "state     aa recorded and re-computed",
        "verdict   identical",
    ]


def test_another_state_is_told_with_both_hashes() -> None:
    """Equal facts with an unequal state are not identical."""
    lines = verdict_lines(verdict(replayed="bb"))

    assert lines[1:] == ["state     aa recorded", "          bb re-computed", "verdict   DIFFERENT"]


def test_the_first_difference_is_told_with_both_values() -> None:
    """Where it is, and what each side has."""
    found = Difference(
        run_seq=7, command_offset=9, fields={"version": (2, 1)}, recorded="StateWritten", decided="StateWritten"
    )

    assert verdict_lines(verdict(found))[2:] == [
        "verdict   DIFFERENT",
        "first     at run_seq 7, command offset 9: StateWritten differs",
        "          version: 2 recorded, 1 decided again",
    ]


def test_a_fact_on_one_side_only_is_told_as_such() -> None:
    """Missing and surplus facts read differently."""
    missing = Difference(run_seq=7, command_offset=9, fields={}, recorded=None, decided="StateRead")
    surplus = Difference(run_seq=7, command_offset=9, fields={}, recorded="StateRead", decided=None)

    assert verdict_lines(verdict(missing))[-1].endswith("StateRead was decided again and is not recorded")
    assert verdict_lines(verdict(surplus))[-1].endswith("StateRead is recorded and was not decided again")


def test_a_long_value_is_cut() -> None:
    """A whole document in a line helps nobody."""
    long = Difference(run_seq=1, command_offset=1, fields={"value": ("x" * 900, "")}, recorded="A", decided="A")

    assert len(verdict_lines(verdict(long))[-1]) < 200


def test_the_document_names_difference_and_hashes() -> None:
    """Programs get the same."""
    found = Difference(run_seq=7, command_offset=9, fields={"version": (2, 1)}, recorded="A", decided="A")
    document = as_document("r", verdict(found, "bb"))

    assert document["identical"] is False
    assert (document["state_hash"], document["replayed_state_hash"]) == ("aa", "bb")
    assert document["difference"]["fields"] == {"version": (2, 1)}
    assert as_document("r", verdict())["difference"] is None
