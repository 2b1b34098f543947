"""A tantivy index over a corpus: built once per fingerprint, kept on disk, shared by all processes."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import tantivy

from backplane.builtin.corpus import Corpus

TITLE_BOOST: Final = 2.0
SNIPPET_CHARS: Final = 240
WRITER_HEAP_BYTES: Final = 30_000_000
"""tantivy refuses less than 15 MB a thread."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A document that was found."""

    id: str
    title: str
    url: str
    snippet: str
    text: str
    score: float


class SearchIndex:
    """An opened index; ``search`` may be used from threads."""

    def __init__(self, index: tantivy.Index) -> None:
        self._index = index
        self._index.reload()

    def search(self, query: str, limit: int, excerpt_chars: int) -> list[Hit]:
        """The documents that fit the words best, best first; equal scores in order of id. Odd syntax in the query is
        read as plain words."""
        searcher = self._index.searcher()
        parsed, _ = self._index.parse_query_lenient(query, ["title", "text"], field_boosts={"title": TITLE_BOOST})
        snippets = tantivy.SnippetGenerator.create(searcher, parsed, self._index.schema, "text")
        snippets.set_max_num_chars(SNIPPET_CHARS)
        found = searcher.search(parsed, limit).hits
        hits = [_hit(searcher.doc(address), score, snippets, excerpt_chars) for score, address in found]
        return sorted(hits, key=lambda hit: (-hit.score, hit.id))


def open_index(data_dir: Path, corpus: Corpus) -> SearchIndex:
    """The index of the corpus, built if this data directory has none. Two processes may build it at once: one wins."""
    folder = data_dir / "cache" / "search" / corpus.fingerprint
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".building-"))
        try:
            _build(building, corpus)
            os.rename(building, folder)
        except OSError:
            if not folder.is_dir():
                raise
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return SearchIndex(tantivy.Index.open(str(folder)))


def _schema() -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    builder.add_text_field("id", stored=True, tokenizer_name="raw")
    builder.add_text_field("url", stored=True, tokenizer_name="raw")
    builder.add_text_field("title", stored=True, tokenizer_name="en_stem")
    builder.add_text_field("text", stored=True, tokenizer_name="en_stem")
    return builder.build()


def _build(folder: Path, corpus: Corpus) -> None:
    index = tantivy.Index(_schema(), path=str(folder))
    writer = index.writer(WRITER_HEAP_BYTES, 1)
    for document in corpus.documents():
        writer.add_document(
            tantivy.Document(id=document.id, url=document.url, title=document.title, text=document.text)
        )
    writer.commit()
    writer.wait_merging_threads()


def _hit(document: Any, score: float, snippets: Any, excerpt_chars: int) -> Hit:
    text = str(document["text"][0])
    snippet = " ".join(snippets.snippet_from_doc(document).fragment().split())
    return Hit(
        id=str(document["id"][0]),
        title=str(document["title"][0]),
        url=str(document["url"][0]),
        snippet=snippet or text[:SNIPPET_CHARS],
        text=_cut(text, excerpt_chars),
        score=round(float(score), 4),
    )


def _cut(text: str, limit: int) -> str:
    """At most ``limit`` characters, ended at a word."""
    return text if len(text) <= limit else next(iter(text[:limit].rsplit(None, 1)), "")
