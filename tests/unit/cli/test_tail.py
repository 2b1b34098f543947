"""kcat's habits: offsets, times, format strings, filters."""

from __future__ import annotations

import pytest

from backplane.cli.output import CommandError
from backplane.cli.tail import BEGINNING, END, DecodedRecord, Filter, StartOffset, formatted, parse_offset, parse_time

ONE = DecodedRecord("bp.runs", 3, 17, 1_795_521_600_000, "kéy", [("a", "1"), ("b", "2")], '{"kind":"RunStarted"}', 99)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("beginning", BEGINNING),
        ("end", END),
        ("17", StartOffset(offset=17)),
        ("-100", StartOffset(offset=-101)),
        ("s@1795521600000", StartOffset(at_ms=1_795_521_600_000)),
    ],
)
def test_offsets(text: str, wanted: StartOffset) -> None:
    """As kcat takes them."""
    assert parse_offset(text) == wanted


@pytest.mark.parametrize("text", ["", "x", "-0", "-", "s@", "s@x", "1.5", "e@1"])
def test_what_is_no_offset_is_refused(text: str) -> None:
    """With what would be one."""
    with pytest.raises(CommandError, match="no offset"):
        parse_offset(text)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("10m", 1_000_000_000 - 600_000),
        ("250ms", 1_000_000_000 - 250),
        ("2d", 1_000_000_000 - 172_800_000),
        ("1795521600000", 1_795_521_600_000),
        ("2026-11-24T12:00:00", 1_795_521_600_000),
        ("2026-11-24T13:00:00+01:00", 1_795_521_600_000),
    ],
)
def test_times(text: str, wanted: int) -> None:
    """Ago, absolute, or as people write it; without a zone it is UTC."""
    assert parse_time(text, now_ms=1_000_000_000) == wanted


@pytest.mark.parametrize("text", ["", "soon", "10x", "2026-99-01"])
def test_what_is_no_time_is_refused(text: str) -> None:
    """With what would be one."""
    with pytest.raises(CommandError, match="no time"):
        parse_time(text, now_ms=0)


def test_format_strings() -> None:
    """All directives and escapes; the value may hold both and stays as it is."""
    assert (
        formatted(r"%t[%p]@%o %T %k %K %h %S %%\\t\n\x41", ONE)
        == "bp.runs[3]@17 1795521600000 kéy 4 a=1,b=2 99 %\\t\nA"
    )
    assert formatted("%s", ONE._replace(value=r"%t \n")) == r"%t \n"


def test_a_directive_that_is_none_is_refused() -> None:
    """A typing error is not printed a thousand times."""
    with pytest.raises(CommandError, match="%q"):
        formatted("%t %q", ONE)


def test_filters() -> None:
    """By the beginning of the run's id, and by globs."""
    fact = {"run_id": "0193-a", "kind": "StateWritten", "agent": "writer"}
    assert Filter().lets_through(fact)
    assert Filter(run="0193", kind="State*", agent="w?iter").lets_through(fact)
    assert not Filter(run="0194").lets_through(fact)
    assert not Filter(kind="state*").lets_through(fact)
    assert not Filter(agent="reader").lets_through(fact)
