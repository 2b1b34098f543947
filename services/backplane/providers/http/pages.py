"""Which page of a list comes next: the core of reading page by page.

Here: a page in, the next request's difference out. Not here: requests, time, bytes.

Laws (tests/properties/test_pages.py): the items are those of the pages, in order, none twice and none left out, up to
the limit. At most ``max_pages`` are asked for. A cursor or link that came before ends the reading with a failure, for
following it would go round for ever. No link leaves the origin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import SplitResult, urljoin, urlsplit

from backplane.manifests.model import Pages
from backplane.manifests.template import expression
from backplane.providers.http.failed import Failed
from backplane.recovery.outcome import Failure

PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Turn:
    """How the request for a page differs from the first one as it was declared."""

    query: Mapping[str, Any] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)
    url: str = ""
    """In place of the whole address; "" for the declared one."""


class PageCursor:
    """One list being read."""

    def __init__(self, spec: Pages, limit: int | None) -> None:
        self._spec = spec
        self._limit = limit
        self._items = expression(spec.items)
        self._next = expression(spec.next) if spec.next else None
        self._more = expression(spec.more) if spec.more else None
        self._number = spec.start
        self._seen: set[str] = set()
        self._pages = 0
        self._first: Any = None
        self._last: Any = None
        self.items: list[Any] = []
        self.more = False
        """There are more pages than were read."""

    def first(self) -> Turn:
        """The first page."""
        return self._turn(self._spec.start) if self._spec.kind == "number" else Turn()

    def take(self, body: Any, link: str, url: str) -> Turn | None:
        """The next page to ask for after this one; None: that was all. ``link`` is the Link header's next address,
        ``url`` where this page came from. Raises Failed for a page that is none, and one that leads nowhere."""
        found = self._items(body)
        if found is not None and not isinstance(found, list):
            raise Failed(_broken(f"no list at {self._spec.items!r} of page {self._pages + 1}"))
        self._first = body if self._pages == 0 else self._first
        self._last = body
        self._pages += 1
        self.items += found or []
        following = self._following(body, bool(found), link, url)
        self.more = following is not None
        if self._limit is not None and len(self.items) >= self._limit:
            self.more = self.more or len(self.items) > self._limit
            del self.items[self._limit :]
            return None
        return following if self._pages < self._spec.max_pages else None

    def gathered(self) -> dict[str, Any]:
        """The value from which ``response.result`` is taken."""
        return {"items": self.items, "first": self._first, "last": self._last, "more": self.more}

    def _following(self, body: Any, found: bool, link: str, url: str) -> Turn | None:
        if self._spec.kind == "number":
            if not (self._more(body) if self._more else found):
                return None
            self._number += self._spec.step
            return self._turn(self._number)
        given = self._next(body) if self._next else link
        if given is None or given == "" or given is False:
            return None
        if self._spec.kind == "cursor":
            self._refuse_again(str(given))
            return self._turn(given)
        target = urljoin(url, str(given))
        if _origin(target) != _origin(url):
            raise Failed(_broken(f"the next page is at {_place(target)}, which is not the provider's own origin"))
        self._refuse_again(target)
        return Turn(url=target)

    def _turn(self, value: Any) -> Turn:
        changed = {self._spec.param: value}
        return Turn(body=changed) if self._spec.place == "body" else Turn(query=changed)

    def _refuse_again(self, mark: str) -> None:
        if mark in self._seen:
            raise Failed(_broken(f"page {self._pages} names a next page that was read already"))
        self._seen.add(mark)


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", _port(parts)


def _port(parts: SplitResult) -> int:
    try:
        return parts.port or PORTS.get(parts.scheme, 0)
    except ValueError:
        return 0


def same_origin(one: str, other: str) -> bool:
    """Whether both addresses have the same scheme, host and port."""
    return _origin(one) == _origin(other)


def _place(url: str) -> str:
    scheme, host, port = _origin(url)
    return f"{scheme}://{host}:{port}"


def _broken(message: str) -> Failure:
    return Failure(error_class="unknown", code="broken_pages", message=message)
