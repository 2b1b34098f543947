"""Reading page by page against an oracle that knows the whole list."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backplane.manifests.model import Pages
from backplane.providers.http.failed import Failed
from backplane.providers.http.pages import PageCursor, Turn

URL = "https://api.example/v1/things"
LISTS = st.lists(st.lists(st.integers(), min_size=1, max_size=4), min_size=1, max_size=6)


def served(kind: str, pages: list[list[int]], turn: Turn) -> tuple[dict[str, Any], str, str]:
    """(body, Link's next address, url) that an API of this kind answers with."""
    if kind == "number":
        number = int({**turn.query, **turn.body}["page"])
        items = pages[number - 1] if 1 <= number <= len(pages) else []
        return {"items": items, "more": number < len(pages)}, "", URL
    if kind == "cursor":
        at = int({**turn.query, **turn.body}.get("page", 0))
        following = at + 1 if at + 1 < len(pages) else None
        return {"items": pages[at], "next": following}, "", URL
    at = int(turn.url.partition("=")[2] or 0)
    link = f"/v1/things?at={at + 1}" if at + 1 < len(pages) else ""
    return {"items": pages[at]}, link, turn.url or URL


def read(spec: Pages, pages: list[list[int]], limit: int | None) -> tuple[PageCursor, int]:
    """The finished reading, and how many pages were asked for."""
    reading = PageCursor(spec, limit)
    turn: Turn | None = reading.first()
    asked = 0
    while turn is not None:
        asked += 1
        turn = reading.take(*served(spec.kind, pages, turn))
    return reading, asked


@given(
    st.sampled_from(["cursor", "number", "link"]),
    st.sampled_from(["query", "body"]),
    LISTS,
    st.none() | st.integers(1, 30),
    st.integers(1, 8),
    st.booleans(),
)
def test_the_items_are_the_lists_own_in_order(
    kind: str, place: str, pages: list[list[int]], limit: int | None, max_pages: int, says_more: bool
) -> None:
    """Up to the limit and the number of pages, none twice, and whether there are more is told."""
    spec = Pages.model_validate(
        {
            "kind": kind,
            "items": "items",
            "param": "page",
            "next": "next" if kind == "cursor" else "",
            "more": "more" if says_more and kind == "number" else "",
            "place": place,
            "limit": limit,
            "max_pages": max_pages,
        }
    )
    reading, asked = read(spec, pages, limit)

    everything = [item for page in pages for item in page]
    within = [item for page in pages[:max_pages] for item in page]
    expected = within if limit is None else within[:limit]
    assert reading.items == expected
    assert asked <= max_pages
    if says_more or kind != "number":  # else only an empty page tells that there is no more
        assert reading.more is (len(expected) < len(everything))


@given(st.lists(st.sampled_from(["a", "b", "c", "d"]), min_size=1, max_size=12))
def test_a_cursor_that_comes_again_ends_the_reading(cursors: list[str]) -> None:
    """A server that goes round in circles is told of, not followed."""
    spec = Pages(kind="cursor", items="items", next="next", param="page", max_pages=1000)
    reading = PageCursor(spec, None)
    seen: set[str] = set()
    for cursor in cursors:
        body = {"items": [1], "next": cursor}
        if cursor in seen:
            with pytest.raises(Failed) as caught:
                reading.take(body, "", URL)
            assert caught.value.failure.code == "broken_pages"
            return
        seen.add(cursor)
        assert reading.take(body, "", URL) == Turn(query={"page": cursor})


@pytest.mark.parametrize(
    "link",
    [
        "https://evil.example/v1/things?page=2",
        "http://api.example/v1/things?page=2",
        "https://api.example:8443/x",
        "//evil.example/x",
        "https://api.example.evil.example/",
        "https://api.example@evil.example/",
        "ftp://api.example/x",
    ],
)
def test_no_link_leaves_the_origin(link: str) -> None:
    """It would be sent the secret."""
    reading = PageCursor(Pages(kind="link", items="items"), None)

    with pytest.raises(Failed, match="not the provider's own origin"):
        reading.take({"items": [1]}, link, URL)


def test_a_page_without_a_list_is_told() -> None:
    """Words where items should be; nothing at all counts as no items."""
    reading = PageCursor(Pages(kind="link", items="items"), None)

    with pytest.raises(Failed, match="no list at 'items' of page 1"):
        reading.take({"items": "many"}, "", URL)
    assert reading.take({}, "", URL) is None
    assert reading.gathered() == {"items": [], "first": {}, "last": {}, "more": False}
