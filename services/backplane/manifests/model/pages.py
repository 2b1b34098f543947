"""How a list that comes in pages is read."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from backplane.manifests.model.part import Part
from backplane.manifests.template import readable, template


class Pages(Part):
    """Pages are read until there are no more, ``limit`` items are there, or ``max_pages`` were read. The response's
    ``max_bytes`` and the attempt's time bound them as well."""

    kind: Literal["cursor", "number", "link"]
    """``cursor``: each page names the next one's. ``number``: pages, or the offsets of their first items, are
    counted. ``link``: each page has the next one's address, which must be of the same origin: it is sent the
    secret."""
    items: str
    """JMESPath of a page's items."""
    next: str = ""
    """JMESPath of the cursor or the link; "" for ``link``: the Link header's rel="next" (RFC 8288)."""
    param: str = ""
    """The request's parameter that takes the cursor or number."""
    place: Literal["query", "body"] = "query"
    """Where that parameter is."""
    start: int = 1
    """The first page's number."""
    step: int = Field(default=1, ge=1)
    """From one number to the next: 1 for page numbers, the items of a page for offsets."""
    more: str = ""
    """For ``number``: JMESPath that gives something other than null, false or empty while there are more pages; "":
    until one has no items."""
    limit: Any = None
    """A template: how many items are enough."""
    max_pages: int = Field(default=10, ge=1, le=1000)

    _is_readable = field_validator("items", "next", "more")(readable)

    @field_validator("limit")
    @classmethod
    def _is_a_template(cls, value: Any) -> Any:
        template(value)
        return value

    @model_validator(mode="after")
    def _is_complete(self) -> Pages:
        if self.kind in ("cursor", "number") and not self.param:
            raise ValueError(f"pages of kind {self.kind!r} need the name of the param")
        if self.kind == "cursor" and not self.next:
            raise ValueError("pages of kind 'cursor' need 'next', where a page names the next cursor")
        return self
