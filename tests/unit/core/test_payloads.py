"""Payloads are JSON, within the limits, wherever they are checked."""

from __future__ import annotations

import pytest

from agents_sdk.core.ledger.payloads import NESTING_LIMIT, check
from agents_sdk.core.ledger.scribe import Refusal
from agents_sdk.core.ledger.state import Limits


@pytest.mark.parametrize("text", ["{", "nul", "NaN", "[1,]", "1 2", '"\\ud800"', "'a'", " "])
def test_what_is_no_json_is_refused(text: str) -> None:
    """A payload that readers could not parse does not enter the log."""
    with pytest.raises(Refusal, match="is not JSON") as caught:
        check(Limits(), "value", text)
    assert caught.value.code == "invalid_command"


def test_nesting_is_limited_and_never_overflows_the_stack() -> None:
    """100,000 brackets are refused, not a RecursionError; brackets in strings and side by side do not count."""
    for text in ("[" * 100_000, '{"a":' * (NESTING_LIMIT + 1) + "1" + "}" * (NESTING_LIMIT + 1)):
        with pytest.raises(Refusal, match="nests deeper"):
            check(Limits(), "value", text)
    check(Limits(), "value", "[" * NESTING_LIMIT + "]" * NESTING_LIMIT)
    check(Limits(), "value", '"' + '[\\"' * 1_000 + '"')
    check(Limits(), "value", "[" + "[],{}," * 1_000 + "1]")
