"""Sentences of prose, and which of them matter: TextRank over word overlap, pulled towards a topic. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

MIN_WORDS: Final = 7
MAX_WORDS: Final = 45
MAX_SENTENCES: Final = 240
"""Comparing pairs is quadratic: 240 take 30 ms, 1,000 would take 0.5 s."""
DAMPING: Final = 0.85
ROUNDS: Final = 30
TOPIC_WEIGHT: Final = 2.0
LEAD_WEIGHT: Final = 1.5
"""A sentence early in a text says what the text is about."""

_END: Final = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[A-Z\"'(])")
_WORD: Final = re.compile(r"[A-Za-z][A-Za-z0-9+#'-]*")
_ABBREVIATION: Final = re.compile(r"\b(?:e\.g|i\.e|etc|vs|cf|approx|Dr|Mr|Ms|Fig|al)\.$", re.IGNORECASE)
_CHORES: Final = re.compile(
    r"pip install|install(ed|ing|ation)?\b.*\b(using|with|via|from)|licen[sc]e|copyright|changelog|release notes|badge|"
    r"contribut|sponsor|pull request|mailing list|issue tracker|bug report|vulnerabilit|donat|thank|patreon|discord|"
    r"gitter|grateful|credit|stewardship|stack overflow|github|see the|refer to|check out|for more|documentation|"
    r"click here|step-by-step|^remember:|^note:|^warning:|"
    r"following (command|example|code)|deprecat|no longer|bugfix|fixed |maintainer|fork\b|version \d|>>>|"
    r"\$ |#\d|\bby @|\S_\S*=|[A-Z]+_[A-Z]+|^(fix|add|remove|drop|bump)(e[sd]|s|ed)?\b|v?\d+\.\d+\.\d+|==",
    re.IGNORECASE,
)
"""Sentences about a project's chores, not about its subject."""
_LEANING: Final = re.compile(
    r"^(this|that|these|those|it|its|they|he|she|such|however|but|and|or|so|also|then|thus|therefore|here|there|"
    r"which|otherwise|instead|additionally|furthermore|for example|for instance|note|or,|if you)\b",
    re.IGNORECASE,
)
"""Openings that lean on the sentence before: fine within a paragraph, not at its start."""
_STOP: Final = frozenset(
    """
    a an and are as at be been but by can could do does for from had has have how i if in into is it its may
    might more most much must my no not of on one only or other our out over own same she should so some such
    than that the their them then there these they this those to under up us use used uses using very was way we
    well were what when where which while who will with would you your also any all each both via etc provides
    provide make makes made just like need needs want
    """.split()  # noqa: SIM905  # a list literal of 130 words would fill a page
)


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence and where it stands."""

    text: str
    source: int
    """Index of its source."""
    position: int
    """Its place among the source's sentences."""
    words: frozenset[str]
    """Stemmed content words."""

    @property
    def leans(self) -> bool:
        """It refers to what comes before it."""
        return _LEANING.match(self.text) is not None


def split(text: str, source: int) -> list[Sentence]:
    """The sentences that could stand in an article, in order; paragraphs are separated by empty lines."""
    found: list[Sentence] = []
    position = 0
    for paragraph in re.split(r"\n\s*\n", text):
        for candidate in _join_abbreviations(_END.split(" ".join(paragraph.split()))):
            position += 1
            if _usable(candidate):
                found.append(Sentence(candidate, source, position, frozenset(content_words(candidate))))
    return found


def content_words(text: str) -> list[str]:
    """The words that carry meaning, lower-case, crudely stemmed."""
    return [_stem(word) for word in map(str.lower, _WORD.findall(text)) if word not in _STOP and len(word) > 2]


def rank(sentences: Sequence[Sentence], topic: str, trust: Sequence[float]) -> list[float]:
    """A weight for each sentence: what its neighbours by word overlap lend it, pulled towards the topic's words, and
    more for what stands early. ``trust``: how well each source fits."""
    count = len(sentences)
    wanted = set(content_words(topic))
    pull = [1.0 + TOPIC_WEIGHT * len(sentence.words & wanted) for sentence in sentences]
    total = sum(pull)
    edges: list[list[tuple[int, float]]] = [[] for _ in range(count)]
    for one in range(count):
        for other in range(one + 1, count):
            weight = _likeness(sentences[one].words, sentences[other].words)
            if weight:
                edges[one].append((other, weight))
                edges[other].append((one, weight))
    sums = [sum(weight for _, weight in each) or 1.0 for each in edges]
    ranks = [1.0 / count] * count
    for _ in range(ROUNDS):
        ranks = [
            (1 - DAMPING) * pull[one] / total
            + DAMPING * sum(ranks[other] * weight / sums[other] for other, weight in edges[one])
            for one in range(count)
        ]
    return [
        value * pull[one] * trust[sentence.source] * (1 + LEAD_WEIGHT / math.sqrt(sentence.position))
        for one, (value, sentence) in enumerate(zip(ranks, sentences, strict=True))
    ]


def alike(one: Sentence, other: Sentence) -> float:
    """Share of words in common, 0 to 1."""
    union = one.words | other.words
    return len(one.words & other.words) / len(union) if union else 1.0


def _likeness(one: frozenset[str], other: frozenset[str]) -> float:
    shared = len(one & other)
    return shared / (math.log(len(one) + 1) + math.log(len(other) + 1)) if shared else 0.0


def _stem(word: str) -> str:
    for ending in ("ations", "ation", "ings", "ing", "ies", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            return word[: -len(ending)]
    return word


def _join_abbreviations(parts: Sequence[str]) -> list[str]:
    joined: list[str] = []
    for part in parts:
        if joined and _ABBREVIATION.search(joined[-1]):
            joined[-1] += " " + part
        else:
            joined.append(part)
    return [part.strip() for part in joined]


def _usable(text: str) -> bool:
    words = _WORD.findall(text)
    if not MIN_WORDS <= len(words) <= MAX_WORDS or text[-1] not in ".!" or not (text[0].isupper() or text[0] in "\"'"):
        return False
    letters = sum(letter.isalpha() or letter == " " for letter in text)
    shouting = sum(word.isupper() and len(word) > 3 for word in words)
    return letters / len(text) > 0.85 and shouting * 4 < len(words) and _CHORES.search(text) is None
