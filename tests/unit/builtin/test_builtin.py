"""The built-in providers on real input, each held to its capability's contract."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from agents_sdk.artifacts import UnknownArtifact
from backplane.builtin import corpus, drafting, image, prose, publish, search, sentences, tokens
from backplane.builtin.search_server import Quota, SearchServer
from backplane.manifests import articles
from backplane.recovery.outcome import ProviderError
from tests.support.catalogue import Bench

ARTICLE = """\
# Event logs

Event streaming keeps every change as a record in a durable log. Consumers read the log at their own pace and
never lose a record.

```python
print("this is code and no prose at all, whatever it says.")
```

## License

This project is licensed under some licence that nobody wants to read about here.
"""
RIVERS = "<html><body><nav>Home</nav><p>Rivers carry water from the mountains down to the sea.</p></body></html>"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's documents."""
    made = tmp_path / "documents"
    (made / "deep").mkdir(parents=True)
    (made / "event_logs.md").write_text(ARTICLE)
    (made / "deep" / "rivers.html").write_text(RIVERS)
    (made / "binary.png").write_bytes(b"\x89PNG")
    (made / "odd.txt").write_bytes(b"caf\xe9 streams of events are read here with bad bytes in them.")
    return made


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A data directory of its own."""
    return Bench(tmp_path)


@pytest.fixture
def run(bench: Bench) -> Callable[..., Any]:
    """Calls a provider as the executor does."""
    return bench.call


def test_a_folder_is_searched(run: Callable[..., Any], folder: Path) -> None:
    """Markdown, HTML and text are found by their prose; code, navigation and other files are not."""

    def titles(query: str) -> list[str]:
        params = {"query": query, "folder": str(folder)}
        return [hit["title"] for hit in run("document_search", search.document_search, params)["hits"]]

    assert titles("durable log") == ["event logs"]
    assert titles("mountain rivers") == ["rivers"]
    assert sorted(titles("events")) == ["event logs", "odd"]
    assert titles("code") == titles("Home") == titles("licence") == []


@pytest.mark.parametrize(("chars", "text"), [(0, ""), (3, "Riv"), (10, "Rivers"), (50_000, None)])
def test_an_excerpt_is_as_long_as_asked(run: Callable[..., Any], folder: Path, chars: int, text: str | None) -> None:
    """Ended at a word where there is one; none at all is a length, too."""
    params = {"query": "rivers water", "folder": str(folder), "excerpt_chars": chars}
    hits = run("document_search", search.document_search, params)["hits"]

    assert hits[0]["text"] == text if text is not None else hits[0]["text"].endswith("the sea.")


def test_a_changed_folder_is_indexed_anew(run: Callable[..., Any], folder: Path) -> None:
    """The index is cached by content; new content is found."""
    params = {"query": "volcano", "folder": str(folder)}
    assert run("document_search", search.document_search, params)["hits"] == []

    (folder / "new.md").write_text("A volcano is a mountain that may open at any time.")

    assert len(run("document_search", search.document_search, params)["hits"]) == 1


@pytest.mark.parametrize("query", ['"', "a AND (", "field:x", "+-~*?^", "\x00", "ä" * 900, "title:[a TO"])
def test_odd_queries_are_words(run: Callable[..., Any], folder: Path, query: str) -> None:
    """No syntax error reaches a caller."""
    run("document_search", search.document_search, {"query": query, "folder": str(folder)})


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_a_folder_without_documents_is_an_invalid_request(run: Callable[..., Any], tmp_path: Path, name: str) -> None:
    """Typed, with what to do."""
    (tmp_path / "empty").mkdir()

    with pytest.raises(ProviderError, match=r"no such folder|no document in") as caught:
        run("document_search", search.document_search, {"query": "x", "folder": str(tmp_path / name)})
    assert caught.value.error_class == "invalid_request"


def test_the_installed_distributions_are_a_corpus() -> None:
    """Real descriptions: this test's own tools are in it."""
    found = {document.title.lower(): document for document in corpus.open_corpus("").documents()}

    assert len(found) > 50
    assert "HTTP client" in found["httpx"].text
    assert found["httpx"].url.startswith("http")
    assert found["httpx"].id.startswith("pkg:pypi/httpx@")


def test_the_corpus_can_be_named_for_all(
    run: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By the environment or a file of the data directory."""
    (tmp_path / "corpus.path").write_text(str(folder))

    assert [hit["title"] for hit in run("web_search", search.web_search, {"query": "rivers"})["hits"]] == ["rivers"]

    monkeypatch.setenv("BACKPLANE_CORPUS", str(tmp_path / "nowhere"))
    with pytest.raises(ProviderError):
        run("web_search", search.web_search, {"query": "rivers"})


def test_the_search_server_has_a_quota(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two answers, then 429 with Retry-After; its address stands in the data directory while it runs."""
    monkeypatch.setenv("BACKPLANE_CORPUS", str(folder))

    with SearchServer(tmp_path, quota=2, window_seconds=60) as server, httpx.Client(trust_env=False) as client:
        assert (tmp_path / "search_server.url").read_text() == server.url
        answers = [client.get(f"{server.url}/search?q=rivers&n=3") for _ in range(3)]
        bad = [
            client.get(server.url + path).status_code
            for path in ("/search", "/search?q=x&n=0", "/search?q=x&chars=y", "/other")
        ]

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[0].json()["hits"][0]["title"] == "rivers"
    assert 25 <= int(answers[2].headers["retry-after"]) <= 30
    assert bad == [400, 400, 400, 404]
    assert not (tmp_path / "search_server.url").exists()


def test_a_quota_refills_evenly() -> None:
    """After half the window, half of it is back."""
    now = [0.0]
    quota = Quota(4, 8.0, lambda: now[0])
    assert [quota.take() for _ in range(4)] == [0.0] * 4
    assert quota.take() == pytest.approx(2.0)

    now[0] = 4.0
    assert [quota.take(), quota.take()] == [0.0, 0.0]
    assert quota.take() == pytest.approx(2.0)


@cache
def sources() -> list[dict[str, Any]]:
    """The best hits for a topic among the installed distributions."""
    documents = {document.title.lower(): document for document in corpus.open_corpus("").documents()}
    names = ("httpx", "aiohttp", "aiokafka", "confluent-kafka", "anyio", "pydantic")
    return [
        {"id": name, "title": name, "url": documents[name].url, "text": documents[name].text, "score": 9.0 - place}
        for place, name in enumerate(names)
    ]


def test_a_draft_quotes_its_sources_and_names_them(run: Callable[..., Any]) -> None:
    """Every sentence stands in a source that its paragraph cites: lineage is exact."""
    given = sources()
    texts = {source["id"]: " ".join(source["text"].split()) for source in given}

    draft = run("text_generation", drafting.text_generation, {"topic": "HTTP clients", "sources": given})

    assert draft["title"] == "HTTP clients"
    for paragraph in draft["paragraphs"]:
        for sentence in re.split(r"(?<=[.!])\s+(?=[A-Z])", paragraph["text"]):
            assert any(sentence in texts[cited] for cited in paragraph["sources"]), sentence
    assert {source["id"] for source in draft["sources"]} <= set(texts)


def test_the_same_request_gives_the_same_draft(run: Callable[..., Any]) -> None:
    """Deterministic, so that a replayed run compares."""
    params = {"topic": "HTTP clients", "sources": sources()}

    assert run("text_generation", drafting.text_generation, params) == run(
        "text_generation", drafting.text_generation, params
    )


@pytest.mark.parametrize(
    ("feedback", "better"),
    [
        ("Too long, please cut", lambda first, second: second["words"] < first["words"]),
        ("more detail please", lambda first, second: second["words"] > first["words"]),
        ("use more sources", lambda first, second: len(second["paragraphs"]) > len(first["paragraphs"])),
    ],
)
def test_feedback_changes_the_draft_as_asked(
    run: Callable[..., Any], feedback: str, better: Callable[[Any, Any], bool]
) -> None:
    """A second draft after a review is another one."""
    params = {"topic": "HTTP clients", "sources": sources(), "style": "standard"}
    first = run("text_generation", drafting.text_generation, params)
    second = run("text_generation", drafting.text_generation, {**params, "feedback": feedback})

    assert better(first, second)


def test_avoided_sentences_are_not_used_again(run: Callable[..., Any]) -> None:
    """What a reviewer struck out stays out."""
    params = {"topic": "HTTP clients", "sources": sources()}
    struck = run("text_generation", drafting.text_generation, params)["summary"]

    second = run("text_generation", drafting.text_generation, {**params, "avoid": [struck]})

    assert struck not in str(second)


def test_sources_without_prose_are_an_invalid_request(run: Callable[..., Any]) -> None:
    """Nothing is made up."""
    with pytest.raises(ProviderError, match="no sentence of the sources"):
        run("text_generation", drafting.text_generation, {"topic": "x", "sources": [{"id": "a", "text": "no. prose"}]})


def test_tokens_are_counted_as_documented() -> None:
    """Words and marks."""
    assert tokens.count("Hello, world! x_1 = 2.5") == 9


@pytest.mark.parametrize(
    ("kind", "text", "paragraphs"),
    [
        (
            "markdown",
            "A **bold** [link](http://x.y) and `code`.\n\n![badge](b.svg)\n\n| a |\n|---|\n| b |",
            ["A bold link and code."],
        ),
        (
            "markdown",
            "# Title\n\nOne.\n\n## Changelog\n\nTwo.\n\n### 1.0\n\nThree.\n\n## Use\n\nFour.",
            ["One.", "Four."],
        ),
        (
            "rst",
            "Title\n=====\n\nUses `links <http://x.y>`_ and ``code`` and async_.\n\n.. note::\n\n   Not this.",
            ["Uses links and code and async."],
        ),
        ("html", "<p>One &amp; two</p><script>x()</script><div>Three</div>", ["One & two", "Three"]),
        ("text", "One\ntwo.\n\n\nThree https://x.y/z", ["One two.", "Three"]),
        ("html", "<p>never closed", ["never closed"]),
    ],
)
def test_prose_is_what_people_read(kind: str, text: str, paragraphs: list[str]) -> None:
    """Mark-up, code, badges, tables and chores are gone."""
    assert prose.paragraphs(text, kind) == paragraphs


def test_sentences_are_split_at_their_ends() -> None:
    """Abbreviations do not end them; fragments, questions and chores are left out."""
    text = (
        "Streams carry records, e.g. Orders and payments, from producers to consumers. Too short. "
        "Is this a question that nobody should see in an article? Install it with pip install streams and more words. "
        "Consumers read them in the order in which they were written."
    )

    assert [sentence.text for sentence in sentences.split(text, 0)] == [
        "Streams carry records, e.g. Orders and payments, from producers to consumers.",
        "Consumers read them in the order in which they were written.",
    ]


def test_an_image_is_a_real_file_of_the_size_asked_for(bench: Bench, run: Callable[..., Any]) -> None:
    """The artifact is what its hash says; equal requests give equal bytes, another seed gives others."""
    params = {"prompt": "Schöne Bilder", "width": 400, "height": 225}
    first = run("image_generation", image.image_generation, params)
    second = run("image_generation", image.image_generation, params)
    other = run("image_generation", image.image_generation, {**params, "seed": 2})

    content = bench.artifacts.get(first["artifact"]["uri"])
    assert (len(content), first["artifact"]["mime"]) == (first["artifact"]["size"], "image/png")
    with Image.open(io.BytesIO(content)) as opened:
        assert (opened.size, opened.format) == ((400, 225), "PNG")
    assert second == first
    assert other["artifact"]["sha256"] != first["artifact"]["sha256"]


def test_titles_are_wrapped_into_even_lines() -> None:
    """No widow on the last line where a narrower block has as few lines."""
    assert image.wrap("aaaa bbbb cccc dddd", len, 14) == ["aaaa bbbb", "cccc dddd"]
    assert image.wrap("word", len, 2) == ["word"]


def test_a_page_is_published(bench: Bench, run: Callable[..., Any], tmp_path: Path) -> None:
    """Paragraphs carry their sources, marks lead to the list, the image lies beside the page."""
    hero = run("image_generation", image.image_generation, {"prompt": "x", "width": 200, "height": 200})
    params = {
        "title": "On <streams> & rivers",
        "paragraphs": [{"id": "p1", "heading": "A & B", "text": "Flows **down**.", "sources": ["s 1"]}],
        "sources": [{"id": "s 1", "title": "River <b>book</b>", "url": "https://example.org/r"}],
        "hero": {**hero, "alt": 'a "picture"'},
    }

    result = run("content_publish", publish.content_publish, params)
    page = Path(result["path"]).read_text()

    assert Path(result["path"]) == tmp_path / "published" / "on-streams-rivers-abcdef" / "index.html"
    assert '<section id="p1" data-source="s 1">' in page
    assert '<p>Flows <strong>down</strong>.<sup><a href="#source-1">1</a></sup></p>' in page
    assert '<li id="source-1"><a href="https://example.org/r"' in page
    assert "On &lt;streams&gt; &amp; rivers" in page
    assert "River &lt;b&gt;book&lt;/b&gt;" in page
    assert (Path(result["path"]).parent / "hero.png").read_bytes() == bench.artifacts.get(hero["artifact"]["uri"])
    assert run("content_publish", publish.content_publish, params) == result


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "[x](javascript:alert(1))",
        "<img src=x onerror=alert(1)>",
        '"><svg/onload=alert(1)>',
        "[x](data:text/html,<script>alert(1)</script>)",
    ],
)
def test_no_script_gets_into_a_page(text: str) -> None:
    """In no field, whatever a model or a source writes."""
    params = {
        "title": text,
        "summary": text,
        "paragraphs": [{"id": text, "heading": text, "text": text, "sources": [text]}],
        "sources": [{"id": text, "title": text, "url": "javascript:alert(1)"}],
    }

    page = publish.render(params, {"file": "hero.png", "alt": text, "width": 0, "height": 0}, text)

    found: list[tuple[str, dict[str, str | None]]] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: found.append((tag, dict(attrs)))  # type: ignore[method-assign]
    parser.feed(page)
    assert len(found) > 10
    assert not {tag for tag, _ in found} & {"script", "svg", "iframe", "object"}
    assert [attributes["src"] for tag, attributes in found if tag == "img"] == ["hero.png"]
    for _, attributes in found:
        assert not [name for name in attributes if name.startswith("on")]
        assert str(attributes.get("href") or "#").startswith(("#", "http://", "https://"))


def test_raw_html_is_shown_as_text_and_foreign_images_are_left_out() -> None:
    """Two layers, each needed: Markdown passes no HTML through, the sanitiser drops what Markdown itself may make."""
    assert articles.html_of("a <b>c</b>") == "<p>a &lt;b&gt;c&lt;/b&gt;</p>"
    assert articles.html_of("see ![x](http://tracker.example/x.png)") == "<p>see </p>"


def test_only_pictures_among_the_artifacts_can_be_a_hero(bench: Bench, run: Callable[..., Any]) -> None:
    """A page must not publish the platform's other files, nor what a browser would run."""
    script = bench.artifacts.put(b"<svg onload=alert(1)>", "image/svg+xml").descriptor()
    unknown = {**script, "mime": "image/png", "uri": "artifact:" + "0" * 64}

    with pytest.raises(ProviderError, match=r"image/svg\+xml"):
        run("content_publish", publish.content_publish, {"title": "t", "markdown": "m", "hero": {"artifact": script}})
    with pytest.raises(UnknownArtifact):
        run("content_publish", publish.content_publish, {"title": "t", "markdown": "m", "hero": {"artifact": unknown}})


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ("Événements & Ströme", "evenements-strome"),
        ("../../etc/passwd", "etc-passwd"),
        ("漢字", "page"),
        ("a" * 99, "a" * 60),
    ],
)
def test_slugs_are_safe_folder_names(text: str, slug: str) -> None:
    """No path leaves the site."""
    assert articles.slug_of(text) == slug
