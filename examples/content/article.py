"""Types that the agents share: values in the state of the run, and messages."""

from __future__ import annotations

from pydantic import BaseModel


class Brief(BaseModel):
    """The order for an article."""

    topic: str
    sources: int = 6
    """Documents to write from, at most."""


class Source(BaseModel):
    """A document that was found."""

    id: str
    title: str
    url: str
    text: str
    score: float


class Findings(BaseModel):
    """Sources for the article, the best first."""

    topic: str
    sources: list[Source]


class Paragraph(BaseModel):
    """A piece of the article, and the ids of the sources it was made from."""

    id: str = ""
    heading: str = ""
    text: str
    sources: list[str]


class Draft(BaseModel):
    """The article, at some version."""

    title: str
    summary: str
    paragraphs: list[Paragraph]

    @property
    def words(self) -> int:
        """How long it is."""
        return sum(len(paragraph.text.split()) for paragraph in self.paragraphs)

    def numbered(self) -> Draft:
        """The same with an id for each paragraph: not every provider of text gives them."""
        named = [each.model_copy(update={"id": each.id or f"p{n}"}) for n, each in enumerate(self.paragraphs, 1)]
        return self.model_copy(update={"paragraphs": named})

    @property
    def cited(self) -> set[str]:
        """The ids of all sources that it names."""
        return {source for paragraph in self.paragraphs for source in paragraph.sources}


class Submitted(BaseModel):
    """To the reviewer: this version of the draft is ready."""

    version: int


class Returned(BaseModel):
    """To the author: please write it again."""

    version: int
    notes: list[str]


class Approved(BaseModel):
    """To everybody: this version of the draft is to be published."""

    version: int


class File(BaseModel):
    """A file that a capability made. It is kept outside the log; state has the reference."""

    uri: str
    sha256: str
    mime: str
    size: int


class Hero(BaseModel):
    """The image above the article."""

    artifact: File
    alt: str
    width: int
    height: int


class Page(BaseModel):
    """Where the article is."""

    path: str
    url: str
    sha256: str
    draft_version: int
