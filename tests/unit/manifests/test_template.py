"""Request templates."""

from __future__ import annotations

import pytest

from backplane.manifests.template import ABSENT, TemplateError, expression, template, url_path

SCOPE = {"params": {"q": "a b&c", "n": 3, "list": [1, 2], "none": None, "path": "../x?y"}, "config": {}}


@pytest.mark.parametrize(
    ("tree", "rendered"),
    [
        ("${params.n}", 3),
        ("${params.list}", [1, 2]),
        ("n=${params.n}, q=${params.q}", "n=3, q=a b&c"),
        ("list ${params.list}", "list [1,2]"),
        ("none:${params.none}", "none:"),
        ("plain", "plain"),
        ("", ""),
        ("$${params.n}", "${params.n}"),
        ({"a": {"b": "${params.n}", "c": "${params.missing}"}}, {"a": {"b": 3}}),
        (["${params.none}", 1, True, None], [1, True, None]),
        ("${params.{x: n, y: '}'}}", {"x": 3, "y": "}"}),
        ("${params.missing || 'other'}", "other"),
    ],
)
def test_templates_render(tree: object, rendered: object) -> None:
    """Types are kept, absent values leave no trace, text is text."""
    assert template(tree)(SCOPE) == rendered


def test_a_null_alone_is_absent() -> None:
    """So that a whole body can be left out."""
    assert template("${params.none}")(SCOPE) is ABSENT


def test_a_parameter_cannot_leave_its_path_segment() -> None:
    """Values are percent-encoded, slashes and question marks included."""
    assert url_path("/v1/${params.path}/x")(SCOPE) == "/v1/..%2Fx%3Fy/x"


@pytest.mark.parametrize("text", ["${params.n", "${", "${a b}", "${'open}"])
def test_a_template_that_cannot_be_read_is_refused(text: str) -> None:
    """When the manifest is loaded, not when the first call is made."""
    with pytest.raises(TemplateError):
        template({"deep": [text]})


def test_what_comes_in_order_may_be_given_scores() -> None:
    """1 over the place; what is no object is left alone, nothing is an empty list."""
    ranked = expression("ranked(@)")

    assert ranked([{"a": 1}, "x", {"score": 9}]) == [{"a": 1, "score": 1.0}, "x", {"score": 1 / 3}]
    assert ranked(None) == []


def test_articles_of_two_runs_never_have_one_address() -> None:
    """However long their titles; an address of their own is kept."""
    slug = expression("article_slug(article, run)")
    title = "All that there is to be said about the logs of event streaming, told anew and at length"

    one, other = (slug({"article": {"title": title}, "run": f"01a21ee0-{end}"}) for end in ("aaaaaa", "bbbbbb"))
    assert one.startswith("all-that-there-is")
    assert one.endswith("-aaaaaa")
    assert one[:-6] == other[:-6]
    assert max(len(one), len(other)) <= 60
    assert slug({"article": {"title": title, "slug": "Ünser Titel"}, "run": "r"}) == "unser-titel"


@pytest.mark.parametrize(("mime", "extension"), [("image/png", ".png"), ("video/mp4", ".mp4"), ("no/such", ".bin")])
def test_files_are_named_by_their_kind(mime: str, extension: str) -> None:
    """With the dot."""
    assert expression("extension(@)")(mime) == extension
