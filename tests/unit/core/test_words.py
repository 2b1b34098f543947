"""A sentence of the platform and the words of others in one line: nothing is said twice, and nothing is left out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents_sdk.core.words import attributed, ended, quoted

TEXT = st.text(max_size=30)


@pytest.mark.parametrize(
    ("status", "reason", "said", "said_by", "told"),
    [
        ("cancelled", "'tester' cancelled the run", "enough", "tester", "cancelled by 'tester', who said 'enough'"),
        ("failed", "'tester' failed the run", "no", "tester", "failed by 'tester', who said 'no'"),
        ("cancelled", "'tester' cancelled the run", "", "", "cancelled by 'tester'"),
        ("cancelled", '"o\'neil" cancelled the run', "stop", "o'neil", "cancelled by \"o'neil\", who said 'stop'"),
        (
            "cancelled",
            "'boss' cancelled it, in its parent",
            "enough",
            "boss",
            "cancelled: 'boss' cancelled it, in its parent and said 'enough'",
        ),
        (
            "failed",
            "agent 'writer' failed 3 times on 'go'",
            "ValueError: x",
            "writer",
            "failed: agent 'writer' failed 3 times on 'go'; writer said 'ValueError: x'",
        ),
        ("failed", "the deadline has passed", "", "", "failed: the deadline has passed"),
        ("cancelled", "", "enough", "", "cancelled; somebody said 'enough'"),
        ("completed", "idle", "", "", "completed: idle"),
        ("completed", "", "", "", "completed"),
        ("cancelled", "nobody cancelled the run", "", "", "cancelled: nobody cancelled the run"),
    ],
)
def test_the_end_of_a_run_is_said_once(status: str, reason: str, said: str, said_by: str, told: str) -> None:
    """Its status, who ended it, and what that one said about it."""
    assert attributed(ended(status, reason), said, said_by) == told


@given(TEXT, TEXT, TEXT)
def test_all_that_is_known_stands_in_the_line(reason: str, said: str, said_by: str) -> None:
    """The platform's sentence first; the words of others in quotes, at the end; the speaker, if he is known."""
    told = attributed(reason, said, said_by)
    assert told.startswith(reason)
    if said:
        assert told.endswith(f" said {quoted(said)}")
        assert said_by in told or repr(said_by) in told


@given(st.sampled_from(["completed", "failed", "cancelled"]), TEXT)
def test_a_name_is_taken_from_the_sentence_of_the_platform_alone(status: str, name: str) -> None:
    """It stands there in quotes, whatever it holds."""
    assert ended(status, f"{name!r} {status} the run") == f"{status} by {name!r}"
    assert ended(status, f"<{name}> {status} the run") == f"{status}: <{name}> {status} the run"
