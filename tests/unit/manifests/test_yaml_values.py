"""YAML is read as a person means it; what cannot be meant is refused with its place."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from backplane.manifests import manifest, yaml_values

HEAD = """name: thing
description: Does a thing with a thing.
side_effects: read
params: {type: object}
result: {}
"""
LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)
)


def read(text: str) -> Any:
    node = yaml_values.compose(text)
    assert node is not None
    return yaml_values.value_of(node)


def refused(value: str, *, before: str = "") -> manifest.ManifestError:
    text = f"{before}{HEAD}providers:\n  - {{name: p, kind: python, function: 'a:b', config: {{d: {value}}}}}\n"
    with pytest.raises(manifest.ManifestError) as caught:
        manifest.parse(text, "thing.yaml")
    return caught.value


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("no", "no"),
        ("NO", "NO"),
        ("yes", "yes"),
        ("off", "off"),
        ("y", "y"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("", None),
        ("2026-02-30", "2026-02-30"),
        ("2026-02-20", "2026-02-20"),
        ("2026-02-20T10:00:00Z", "2026-02-20T10:00:00Z"),
        ("12:30:45", "12:30:45"),
        ("190:20:30.15", "190:20:30.15"),
        ("010", "010"),
        ("007", "007"),
        ("10", 10),
        ("-3", -3),
        ("1_000", 1000),
        ("0x1F", 31),
        ("1.5", 1.5),
        ("1e5", "1e5"),
        ("=", "="),
        ("'no'", "no"),
        ("'10'", "10"),
        ("!!str 10", "10"),
        ("{no: 1, 2: x, 2026-01-01: y, ~: z}", {"no": 1, "2": "x", "2026-01-01": "y", "~": "z"}),
        ("[&a {b: 1}, *a]", [{"b": 1}, {"b": 1}]),
        ("{<<: {a: 1, b: 1}, a: 2}", {"a": 2, "b": 1}),
    ],
)
def test_what_is_written_is_what_is_meant(written: str, value: Any) -> None:
    """Norway is no false, a date is no error, keys are texts."""
    found = read(f"v: {written}\n")["v"]

    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("value", "column", "why"),
    [
        ("{? [a] : 1}", 61, "a key is a text, not a list"),
        ("{? {a: 1} : 1}", 61, "a key is a text, not a mapping"),
        ("{a: 1, a: 2}", 65, "'a' is given twice"),
        ("{no: 1, no: 2}", 66, "'no' is given twice"),
        ("!!python/object/apply:os.system [ls]", 58, "the tag '!!python/object/apply:os.system'"),
        ("!Ref x", 58, "the tag '!Ref'"),
        ("!!binary aGk=", 58, "the tag '!!binary'"),
        ("!!set {a}", 58, "the tag '!!set'"),
        ("!!int x", 58, "is no integer"),
        ("!!float x", 58, "is no number"),
        ("&a [*a]", 58, "a part of"),
        ("&a {b: {c: *a}}", 58, "a part of"),
        ("*nowhere", 58, "undefined alias"),
        (".nan", 58, "no number that JSON has"),
        ("-.inf", 58, "no number that JSON has"),
        ("1.0e+999", 58, "beyond what a number can be"),
        ("9" * 5_000, 58, "beyond 64 bits"),
        ('"\\ud800"', 58, "half of a character"),
        ("[" * 3_000 + "]" * 3_000, 154, "nested more than 100 levels"),
        ("{<<: 1}", 63, "only mappings can be merged"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_place(value: str, column: int, why: str) -> None:
    """File, line and column, in every case."""
    error = refused(value)

    assert why in error.message
    assert (error.fields["line"], error.fields["column"]) == (7, column)
    assert error.message.startswith(f"thing.yaml:7:{column}: ")


def test_aliases_that_multiply_are_refused() -> None:
    """Nine lines that stand for a billion values."""
    assert "more than 100,000 values" in refused("*a8", before=LAUGHS).message


@pytest.mark.parametrize(
    "text", ["", "[]", "x", "a: b\n---\nc: d", "a: \x00", "\ta: b", "a: [", "{" * 100_000, "&a *a"]
)
def test_what_is_no_manifest_is_told_with_a_place(text: str) -> None:
    """Nothing, a list, two documents, characters that are not allowed, what does not end."""
    with pytest.raises(manifest.ManifestError, match=r"^thing\.yaml:\d+:\d+: "):
        manifest.parse(text, "thing.yaml")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(JSON)
def test_what_is_written_as_yaml_is_read_as_it_was(value: Any) -> None:
    """What the command line prints can be applied again."""
    assert read(yaml.safe_dump({"v": value}))["v"] == value


@given(st.text(max_size=60))
def test_no_text_breaks_the_reading(text: str) -> None:
    """A capability, or problems with their places."""
    capability, problems = manifest._examined(text, "thing.yaml")

    assert capability is not None or problems
