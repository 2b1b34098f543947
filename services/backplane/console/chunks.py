"""Long lists a chunk at a time: which lines are on the page, and which are fetched later or by a link. Pure.

Law: the lines on the page and those of the later chunks are all from the first of them to the end, each once.
"""

from __future__ import annotations

from typing import Final, NamedTuple

CHUNK: Final = 100
"""Lines of one: four times what a window shows; twice as many take a browser twice as long to lay out."""
ROW_PX: Final = 30
"""The height of a line; a placeholder for lines that are not fetched yet is as tall as they will be."""


class Chunk(NamedTuple):
    """Lines of a list that are not on the page."""

    start: int
    length: int

    @property
    def height(self) -> int:
        """Their future height, in pixels."""
        return self.length * ROW_PX

    @property
    def words(self) -> str:
        """As a link says it."""
        return f"{self.start + 1} to {self.start + self.length}"


class Chunks(NamedTuple):
    """A list of ``total`` lines of which those of one chunk are on the page."""

    start: int
    total: int

    @property
    def here(self) -> slice:
        """The lines on the page."""
        return slice(self.start, self.start + CHUNK)

    @property
    def later(self) -> list[Chunk]:
        """Later chunks, each fetched when it is scrolled to."""
        begins = range(self.start + CHUNK, self.total, CHUNK)
        return [Chunk(at, min(CHUNK, self.total - at)) for at in begins]

    @property
    def earlier(self) -> Chunk | None:
        """The one before it."""
        return Chunk(self.start - CHUNK, CHUNK) if self.start else None


def chunks_at(text: str, total: int) -> Chunks:
    """The chunk that has the line of this number, as an address gives it; what is no number, or too much, is let be."""
    line = min(int(text), max(0, total - 1)) if text.isdecimal() else 0
    return Chunks(line // CHUNK * CHUNK, total)
