"""Attempts of several requests: pages, look-ups, polls, files; against a real server on the loopback."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from agents_sdk.artifacts import ArtifactStore
from backplane.recovery.outcome import Answer, AttemptOutcome, Failure
from tests.support.http_attempts import attempt
from tests.support.http_server import Asked, Reply, Server, serving

ITEMS = list(range(25))


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


def answered(outcome: AttemptOutcome) -> Answer:
    assert isinstance(outcome, Answer), outcome
    return outcome


def failed(outcome: AttemptOutcome) -> Failure:
    assert isinstance(outcome, Failure), outcome
    return outcome


def png(width: int = 3, height: int = 2) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height)).save(out, "PNG")
    return out.getvalue()


def kept(artifact: dict[str, Any], data_dir: Path) -> bytes:
    return ArtifactStore(data_dir).get(artifact["uri"])


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


# Pages


def paged(asked: Asked) -> Reply:
    """Ten items a page: by number, offset, cursor in query or body, and by Link header."""
    body = asked.json if asked.body else {}
    if asked.path == "/links":
        at = int(asked.query.get("at", 0))
        link = {"link": f'</links?at={at + 10}&q=ä>; rel="next"'} if at + 10 < len(ITEMS) else {}
        return Reply({"data": ITEMS[at : at + 10]}, headers={k: v.replace("ä", "%C3%A4") for k, v in link.items()})
    if "page" in asked.query:
        at = (int(asked.query["page"]) - 1) * 10
    else:
        at = int(asked.query.get("offset") or asked.query.get("cursor") or body.get("cursor") or 0)
    following = str(at + 10) if at + 10 < len(ITEMS) else None
    return Reply({"data": ITEMS[at : at + 10], "meta": {"next": following}})


@pytest.mark.parametrize(
    ("pages", "request_fields", "requests"),
    [
        ({"kind": "number", "param": "page"}, {}, 4),
        ({"kind": "number", "param": "page", "more": "meta.next"}, {}, 3),
        ({"kind": "number", "param": "offset", "start": 0, "step": 10}, {}, 4),
        ({"kind": "cursor", "param": "cursor", "next": "meta.next"}, {}, 3),
        (
            {"kind": "cursor", "param": "cursor", "next": "meta.next", "place": "body"},
            {"method": "POST", "body": {"q": "x"}},
            3,
        ),
        ({"kind": "link"}, {"path": "/links"}, 3),
    ],
    ids=["page numbers", "page numbers and more", "offsets", "cursor", "cursor in the body", "Link header"],
)
async def test_a_list_is_read_to_its_end(
    server: Server, pages: dict[str, Any], request_fields: dict[str, Any], requests: int
) -> None:
    """Whatever way the API pages."""
    server.script = paged
    outcome = await attempt(
        server.url,
        pages={"items": "data", **pages},
        request=request_fields,
        response={"result": "{numbers: items, more: more}"},
    )

    assert answered(outcome).result == {"numbers": ITEMS, "more": False}
    assert len(server.asked) == requests
    assert all(asked.json["q"] == "x" for asked in server.asked if asked.body)


async def test_enough_is_enough(server: Server) -> None:
    """Neither more items than asked for nor more pages than declared."""
    server.script = paged
    pages = {"kind": "number", "param": "page", "items": "data"}

    limited = await attempt(
        server.url, {"n": 12}, pages={**pages, "limit": "${params.n}"}, response={"result": "items"}
    )
    assert answered(limited).result == ITEMS[:12]
    assert len(server.asked) == 2

    two = await attempt(
        server.url, pages={**pages, "max_pages": 2}, response={"result": "{n: length(items), more: more}"}
    )
    assert answered(two).result == {"n": 20, "more": True}


async def test_the_secret_goes_with_every_page_and_the_link_says_the_rest(server: Server) -> None:
    """A key in the query is added to links too."""
    server.script = paged
    await attempt(
        server.url,
        pages={"kind": "link", "items": "data"},
        request={"path": "/links", "query": {"first": "only"}},
        auth={"kind": "query", "name": "key", "secret": {"env": "KEY"}},
        environment={"KEY": "s3cret-key"},
    )

    assert [asked.query.get("key") for asked in server.asked] == ["s3cret-key"] * 3
    assert [asked.query.get("first") for asked in server.asked] == ["only", None, None]
    assert server.asked[1].query["q"] == "ä"


async def test_a_link_to_elsewhere_is_not_followed(server: Server) -> None:
    """It would carry the secret there."""
    with serving() as elsewhere:
        server.replies(Reply({"data": [1]}, headers={"link": f'<{elsewhere.url}/x>; rel="next"'}))
        outcome = await attempt(server.url, pages={"kind": "link", "items": "data"})

        assert failed(outcome).code == "broken_pages"
        assert elsewhere.asked == []


async def test_all_pages_together_are_within_the_limit_of_bytes(server: Server) -> None:
    """A list that never ends ends."""
    server.script = lambda asked: Reply({"data": ["x" * 1000], "next": f"{len(server.asked)}"})
    outcome = await attempt(
        server.url,
        pages={"kind": "cursor", "param": "c", "next": "next", "items": "data", "max_pages": 1000},
        response={"max_bytes": 20_000},
    )

    assert (failed(outcome).error_class, failed(outcome).code) == ("unknown", "response_too_large")
    assert len(server.asked) < 25


async def test_all_pages_together_are_within_the_time(server: Server) -> None:
    """A page that does not come costs what is left, not a time of its own."""
    server.replies(Reply({"data": [1], "next": "b"}), Reply({}, hold=True))
    outcome = await attempt(
        server.url, pages={"kind": "cursor", "param": "c", "next": "next", "items": "data"}, timeout=1.5
    )

    assert (failed(outcome).code, failed(outcome).uncertain) == ("timeout", True)


# Look-ups


LOOKUP = {"request": {"method": "GET", "path": "/things", "query": {"slug": "${params.slug}"}}}
MAIN = {"method": "POST", "path": "/things/${lookup[0].id}", "body": {"title": "${params.title}"}}


@pytest.mark.parametrize(
    ("found", "path"), [(Reply([{"id": 7}]), "/things/7"), (Reply([]), "/things/"), (Reply({}, 404), "/things/")]
)
async def test_what_is_looked_up_first_is_known_to_the_request(server: Server, found: Reply, path: str) -> None:
    """So that publishing again replaces what is there."""
    server.replies(found, Reply({"id": 7}))
    outcome = await attempt(server.url, {"slug": "a", "title": "A"}, lookup=LOOKUP, request=MAIN)

    assert answered(outcome).result == {"id": 7}
    assert [(asked.method, asked.path) for asked in server.asked] == [("GET", "/things"), ("POST", path)]


@pytest.mark.parametrize("found", [Reply({}, 500), Reply(b"<html>"), Reply({}, hold=True)])
async def test_a_look_up_that_fails_had_no_effect(server: Server, found: Reply) -> None:
    """The request that would have one was not sent."""
    server.replies(found)
    outcome = await attempt(server.url, {"slug": "a"}, lookup=LOOKUP, request=MAIN, timeout=3.0)

    assert failed(outcome).uncertain is False
    assert {asked.method for asked in server.asked} == {"GET"}


# Polls


CREATE = {"method": "POST", "path": "/tasks", "body": {"prompt": "${params.prompt}"}}
POLL = {
    "request": {"method": "GET", "path": "/tasks/${created.id}"},
    "done": "status == 'SUCCEEDED'",
    "interval_seconds": 0.01,
}
RULES = [
    {
        "status": "2xx",
        "body": "status == 'FAILED' && code == 'SAFETY'",
        "class": "content_refused",
        "message": "failure",
    },
    {"status": "2xx", "body": "status == 'FAILED'", "class": "transient", "message": "failure"},
]
BUSY = Reply({"id": "t1", "status": "RUNNING"})
DONE = Reply({"id": "t1", "status": "SUCCEEDED", "output": ["x"]})


async def polled(server: Server, **fields: Any) -> AttemptOutcome:
    given = {"request": CREATE, "poll": POLL, "errors": RULES, "response": {"result": "output"}, **fields}
    return await attempt(server.url, {"prompt": "p"}, **given)


async def test_work_that_takes_time_is_waited_for(server: Server) -> None:
    """Begun once, looked at until it is done."""
    server.replies(Reply({"id": "t1"}), BUSY, BUSY, DONE)

    assert answered(await polled(server)).result == ["x"]
    assert [asked.path for asked in server.asked] == ["/tasks", *["/tasks/t1"] * 3]


@pytest.mark.parametrize(("code", "error_class"), [("SAFETY", "content_refused"), ("INTERNAL", "transient")])
async def test_work_that_fails_is_told_by_the_rules(server: Server, code: str, error_class: str) -> None:
    """A 200 that says it failed is a failure; what was begun may have had its effect."""
    broken = Reply({"status": "FAILED", "code": code, "failure": "it was not to be"})
    server.replies(Reply({"id": "t1"}), BUSY, broken)
    outcome = failed(await polled(server, errors=RULES))

    assert (outcome.error_class, outcome.message) == (error_class, "HTTP 200 OK: it was not to be")
    assert outcome.uncertain is True
    assert len(server.asked) == 3


async def test_a_look_that_fails_does_not_begin_the_work_again(server: Server) -> None:
    """The work goes on meanwhile, and is paid for."""
    cut = Reply({"status": "RUNNING"}, cut=100)
    server.replies(Reply({"id": "t1"}), Reply({}, 500), cut, Reply(b"<html>"), BUSY, DONE)

    assert answered(await polled(server)).result == ["x"]
    assert sum(asked.method == "POST" for asked in server.asked) == 1


async def test_a_task_that_is_gone_is_not_asked_for_again(server: Server) -> None:
    """A refusal is no passing failure."""
    server.replies(Reply({"id": "t1"}), Reply({"error": "no such task"}, 404))
    outcome = failed(await polled(server))

    assert (outcome.error_class, outcome.uncertain) == ("invalid_request", True)
    assert len(server.asked) == 2


async def test_work_that_is_never_done_ends_with_the_time(server: Server) -> None:
    """And may have had its effect."""
    server.replies(Reply({"id": "t1"}), BUSY)
    outcome = failed(await polled(server, timeout=1.5))

    assert (outcome.error_class, outcome.code, outcome.uncertain) == ("transient", "timeout", True)


# Files


async def test_a_file_is_fetched_and_kept(server: Server, tmp_path: Path) -> None:
    """By its content, without the secret, with what the result needs of it."""
    content = png()

    def script(asked: Asked) -> Reply:
        if asked.path == "/file.png":
            return Reply(content, headers={"content-type": "image/png; q=1"})
        return Reply({"output": [f"{server.url}/file.png"]})

    server.script = script
    outcome = await attempt(
        server.url,
        {"prompt": "p"},
        response={
            "artifact": {"url": "output[0]"},
            "result": "{file: artifact, width: width, alt: params.prompt, of: response.output[0]}",
            "usage": {"images": 1, "bytes": "${result.file.size}"},
        },
        auth={"kind": "bearer", "secret": {"env": "KEY"}},
        environment={"KEY": "s3cret-key"},
        data_dir=tmp_path,
    )

    result = answered(outcome).result
    file = result["file"]
    assert file["sha256"] == hashlib.sha256(content).hexdigest()
    assert kept(file, tmp_path) == content
    assert (file["mime"], result["width"], result["alt"]) == ("image/png", 3, "p")
    assert result["of"] == f"{server.url}/file.png"
    assert (answered(outcome).usage.images, answered(outcome).usage.bytes) == (1, len(content))
    assert "authorization" in server.asked[0].headers
    assert "authorization" not in server.asked[1].headers


async def test_a_file_within_the_response_is_kept(server: Server, tmp_path: Path) -> None:
    """As base64, the way image models answer."""
    server.replies(Reply({"data": [{"b64_json": base64.b64encode(png(5, 4)).decode()}]}))
    outcome = await attempt(
        server.url,
        response={"artifact": {"base64": "data[0].b64_json", "mime": "image/png"}, "result": "@"},
        data_dir=tmp_path,
    )

    result = answered(outcome).result
    assert (result["width"], result["height"]) == (5, 4)
    assert kept(result["artifact"], tmp_path) == png(5, 4)


@pytest.mark.parametrize(
    ("rule", "file", "code"),
    [
        ({"url": "missing"}, Reply(png()), "broken_artifact"),
        ({"url": "file", "mime": "image/png"}, Reply(b"<html>sorry</html>"), "broken_artifact"),
        ({"url": "file"}, Reply(b"", headers={"content-type": "video/mp4"}), "broken_artifact"),
        ({"url": "file"}, Reply(b"x", 404), "http_404"),
        ({"url": "file"}, Reply(b"", 302, {"location": "http://127.0.0.1:1/"}), "http_302"),
        ({"url": "file", "max_bytes": 100_000}, Reply(forever=b"x" * 10_000), "artifact_too_large"),
        ({"url": "file"}, Reply(b"x" * 10, cut=100), "truncated_response"),
        ({"base64": "text", "mime": "video/mp4"}, Reply(b""), "broken_artifact"),
        ({"base64": "long", "mime": "video/mp4", "max_bytes": 10}, Reply(b""), "artifact_too_large"),
    ],
)
async def test_a_file_that_is_none_is_a_failure(
    server: Server, tmp_path: Path, rule: dict[str, Any], file: Reply, code: str
) -> None:
    """Nothing broken is kept; it was made, so the effect may have happened."""
    body = {"file": f"{server.url}/file", "text": "no base64!", "long": "QUFB" * 10}
    server.script = lambda asked: file if asked.path == "/file" else Reply(body)
    outcome = await attempt(server.url, response={"artifact": rule}, data_dir=tmp_path)

    assert (failed(outcome).code, failed(outcome).uncertain) == (code, True)
    assert files(tmp_path) == []


async def test_no_file_is_fetched_from_where_only_the_executor_can_reach(server: Server, tmp_path: Path) -> None:
    """A response must not name an address behind the firewall."""
    with serving() as inside:
        server.replies(Reply({"file": f"{inside.url}/metadata"}))
        outcome = await attempt(server.url, response={"artifact": {"url": "file"}}, data_dir=tmp_path)

        assert failed(outcome).code == "broken_artifact"
        assert inside.asked == []


@pytest.mark.parametrize(
    ("encoding", "kind"), [("form", "application/x-www-form-urlencoded"), ("multipart", "multipart/form-data")]
)
async def test_a_body_may_be_a_form(server: Server, encoding: str, kind: str) -> None:
    """Of one level; what is absent is left out, what is no text is written as JSON."""
    body = {"prompt": "${params.prompt}", "seed": "${params.seed}", "n": 2}
    await attempt(server.url, {"prompt": "ä b"}, request={"method": "POST", "body": body, "encoding": encoding})

    [asked] = server.asked
    assert asked.headers["content-type"].startswith(kind)
    text = asked.body.decode()
    assert "seed" not in text
    assert (text == "prompt=%C3%A4+b&n=2") if encoding == "form" else ('name="prompt"\r\n\r\nä b\r\n' in text)
