"""Finds capabilities by what they are for: BM25 over names, descriptions and tags, of those that a role may call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from agents_sdk.core.ledger.rules import allows
from agents_sdk.core.tools import Format, definition
from agents_sdk.errors import NotInstalled

if TYPE_CHECKING:
    import tantivy

    from agents_sdk.core.catalogue import Catalogue

LIMIT: Final = 5
BOOSTS: Final = {"name": 3.0, "tags": 2.0, "description": 1.0}
"""A word of the name says more than one of the description. Set so that each built-in capability is the first one found
by its own name and by what its tags say (tests/unit/agents_sdk/test_discovery.py)."""
ANALYZER: Final = "words"
HEAP_BYTES: Final = 15_000_000
"""tantivy's least."""


class CapabilityMatch(NamedTuple):
    """A capability that fits a need."""

    name: str
    description: str
    score: float
    """BM25; higher is better, and only comparable within one answer."""
    side_effects: str
    params: Mapping[str, Any]
    """JSON Schema."""


class Discovery:
    """The contents of the registry, to be searched. The index is made at the first search after a change."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._versions: dict[str, int] = {}
        self._manifests: dict[str, dict[str, Any]] = {}
        self._index: tantivy.Index | None = None

    def allowed(self, globs: Iterable[str], now: float) -> list[str]:
        """Names of the capabilities that the globs allow, that are not disabled and that some living executor can ask a
        provider of; sorted. ``now`` in seconds of the catalogue's clock."""
        self._refresh()
        askable = {each.partition("/")[0] for each in self._catalogue.askable(now)}
        patterns = tuple(globs)
        return sorted(name for name in askable & self._manifests.keys() if allows(patterns, name))

    def search(self, text: str, globs: Iterable[str], now: float, limit: int = LIMIT) -> list[CapabilityMatch]:
        """The allowed capabilities that fit the words best, best first; equal ones in order of their names. Raises
        NotInstalled without tantivy."""
        allowed = self.allowed(globs, now)
        if not allowed:
            return []
        if self._index is None:
            self._index = _indexed(self._manifests.values())
        query, _ = self._index.parse_query_lenient(text, list(BOOSTS), field_boosts=BOOSTS)
        searcher = self._index.searcher()
        hits = searcher.search(query, len(self._manifests)).hits
        found = [(str(searcher.doc(address)["id"][0]), float(score)) for score, address in hits]
        best = sorted(((name, score) for name, score in found if name in allowed), key=lambda hit: (-hit[1], hit[0]))
        return [self._found(name, score) for name, score in best[: max(limit, 0)]]

    def tools(self, names: Sequence[str], format: Format) -> list[dict[str, Any]]:
        """The tool definitions of these capabilities, in this order."""
        self._refresh()
        manifests = [self._manifests[name] for name in names]
        return [definition(each["name"], each["description"], each["params"], format) for each in manifests]

    def _found(self, name: str, score: float) -> CapabilityMatch:
        manifest = self._manifests[name]
        effects, params = manifest["side_effects"], manifest["params"]
        return CapabilityMatch(name, manifest["description"], round(score, 4), effects, params)

    def _refresh(self) -> None:
        versions = {name: held.version for name, held in self._catalogue.manifests.items()}
        if versions == self._versions:
            return
        self._versions = versions
        held = self._catalogue.manifests
        self._manifests = {name: msgspec.json.decode(each.record.manifest) for name, each in held.items()}
        self._index = None


def _analyzer() -> tantivy.TextAnalyzer:
    """English stems, without the words that every sentence has: a need is a sentence."""
    import tantivy

    words = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple()).filter(tantivy.Filter.lowercase())
    return words.filter(tantivy.Filter.stopword("english")).filter(tantivy.Filter.stemmer("english")).build()


def _indexed(manifests: Iterable[Mapping[str, Any]]) -> tantivy.Index:
    try:
        import tantivy
    except ModuleNotFoundError as error:
        raise NotInstalled(
            "finding a capability by words needs tantivy", hint="pip install 'agent-backplane[providers]'"
        ) from error

    builder = tantivy.SchemaBuilder()
    builder.add_text_field("id", stored=True, tokenizer_name="raw")
    for field in BOOSTS:
        builder.add_text_field(field, stored=False, tokenizer_name=ANALYZER)
    index = tantivy.Index(builder.build())
    index.register_tokenizer(ANALYZER, _analyzer())
    writer = index.writer(HEAP_BYTES, 1)
    for each in manifests:
        name, tags = each["name"].replace("_", " "), " ".join(each.get("tags", ()))
        writer.add_document(tantivy.Document(id=each["name"], name=name, description=each["description"], tags=tags))
    writer.commit()
    writer.wait_merging_threads()
    index.reload()
    return index
