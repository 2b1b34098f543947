"""References to artifacts: their form, and how facts come by them."""

from __future__ import annotations

import pytest

from agents_sdk.core import artifacts
from tests.support.ledger_desk import EXECUTOR, Desk

ONE, TWO = "1" * 64, "ab" * 32


@pytest.mark.parametrize(
    ("payload", "named"),
    [
        ("{}", []),
        (f'{{"a":"artifact:{TWO}","b":["artifact:{ONE}","artifact:{TWO}"]}}', [TWO, ONE]),
        (f'"see artifact:{ONE}."', [ONE]),
        (f'"artifact:{ONE}0"', []),
        ('"artifact:"', []),
        (f'"artifact:{TWO.upper()}"', []),
        (f'"{ONE}"', []),
    ],
)
def test_a_payload_names_its_artifacts_once_each_in_order(payload: str, named: list[str]) -> None:
    """Whole references only: neither a bare hash nor a longer number is one."""
    assert artifacts.named(payload) == named


@pytest.mark.parametrize("text", ["", "artifact:", "artifact:12", "x" * 64, f"artifact:artifact:{ONE}", f"{ONE}\n"])
def test_what_is_no_reference_has_no_digest(text: str) -> None:
    """A path or a name is not taken for a hash."""
    assert artifacts.digest(text) is None
    assert artifacts.digest(ONE) == artifacts.digest(artifacts.reference(ONE)) == ONE


def test_a_call_says_which_artifacts_it_was_given_and_which_it_made() -> None:
    """From the payloads, so whoever decides again finds the same."""
    desk = Desk()
    desk.register("one")
    desk.start()

    [asked] = desk.send("CallCapability", capability="video", params=f'{{"frame":"artifact:{ONE}"}}').facts
    [made] = desk.send(
        "CompleteCall", agent=EXECUTOR, call_id=asked.command_id, result=f'{{"uri":"artifact:{TWO}"}}'
    ).facts

    assert (asked.artifacts, made.artifacts) == ([ONE], [TWO])  # type: ignore[attr-defined]
