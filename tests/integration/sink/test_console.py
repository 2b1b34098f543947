"""The console over the real engine, in a real browser: what others wrote stays text, and size does not stop it."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import httpx
import pytest
from msgspec.structs import replace

from agents_sdk.artifacts import ArtifactStore
from agents_sdk.settings import load_settings
from backplane.console.access import CSRF
from backplane.console.desk import ConsoleContext
from backplane.insight.answers import timeline
from backplane.sink.rows import Record
from backplane.sink.writer import Writer
from backplane.store.engine import Engine
from backplane.store.migrate import migrate
from tests.integration.sink.conftest import Database
from tests.support.browser import Window, chromium
from tests.support.console import HOSTILE_RUN, console, hostile, large, links
from tests.support.stories import article, records

RUN = article().run_id
EVIL = "01930000-0000-7000-8000-00000000000e"
EMPTIED = "01930000-0000-7000-8000-0000000000e0"
LARGE = "01930000-0000-7000-8000-0000000000ff"
FACTS = 10_000
NO_STREAM = "503 (Service Unavailable)"
"""What the stream of a page is answered here, where there is no Kafka."""
ATTACK = re.compile(r"<script>window|<img src=x|<svg/onload|href=\"javascript|<hx-partial hx-target=body")


class Site(NamedTuple):
    """A console and what it is started with."""

    base: str
    environment: dict[str, str]
    last: int
    """The number of the large run's last fact."""


@pytest.fixture(scope="module")
def site(engine: Engine, port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Over a store with an ordinary run, hostile ones and a large one; without Kafka."""
    name, folder = "console", tmp_path_factory.mktemp("console")
    client = engine.client()
    migrate(client, name)
    writer = Writer(client, name)
    story = large(LARGE, facts=FACTS)
    every = [
        *records(article().facts),
        *hostile(EVIL),
        *[record._replace(partition=3) for record in hostile(HOSTILE_RUN)],
        *records(story.facts, partition=2),
        *[_emptied(record) for record in records(article(EMPTIED).facts, partition=1)],
    ]
    writer.write(writer.prepare(every))
    environment = {
        "BACKPLANE_DATA_DIR": str(folder),
        "BACKPLANE_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "BACKPLANE_CLICKHOUSE__URL": f"http://127.0.0.1:{port}",
        "BACKPLANE_CLICKHOUSE__DATABASE": name,
    }
    with console(environment, folder / "console.log") as base:
        yield Site(base, environment, story.facts[-1].run_seq)
    client.command(f"DROP DATABASE {name} SYNC")
    client.close()


def _emptied(record: Record) -> Record:
    """As retention leaves it."""
    return record._replace(row=replace(record.row, value="")) if hasattr(record.row, "value") else record


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as running:
        yield running


def test_every_page_is_made_of_escaped_text(site: Site) -> None:
    """With an attack in every field: from the hostile runs on, every link leads to a page, and none has it as HTML."""
    start = [
        f"/runs/{EVIL}/{tab}"
        for tab in ("timeline", "events", "lineage", "cost", "state", "messages", "artifacts", "why")
    ]
    start += [
        "/",
        "/runs",
        "/agents",
        "/state",
        "/cost",
        "/capabilities?span=all",
        "/search?q=pwned",
        "/sql?q=SELECT+*+FROM+events",
    ]
    found = links(site.base, start, 110, apart=("/topics", "/books", "/live", f"/runs/{LARGE}", f"/lineage/{LARGE}"))

    assert len(found) >= 90
    assert {where: answer.status_code for where, answer in found.items() if answer.status_code != 200} == {}
    assert {where for where, answer in found.items() if ATTACK.search(answer.text)} == set()
    assert any("&lt;script&gt;window.pwned" in answer.text for answer in found.values())
    assert all("49{% raw %}" not in answer.text for answer in found.values())


def test_an_attack_in_every_field_runs_nowhere(site: Site, browser: Any) -> None:
    """In the browser, where it counts: nothing was executed, nothing had to be blocked."""
    window = Window(browser, site.base, expected=NO_STREAM)
    pages = [
        f"/runs/{EVIL}/{tab}"
        for tab in ("timeline", "events", "lineage", "cost", "state", "messages", "artifacts", "why")
    ]
    pages += ["/", "/agents", "/state", "/search?q=pwned", "/sql?q=SELECT+*+FROM+events", "/capabilities?span=all"]
    for path in [*pages, f"/runs/{httpx.URL(path=HOSTILE_RUN).raw_path.decode()}/timeline"]:
        window.open(path)
        assert window.page.evaluate("window.pwned") is None, path
    window.shot("hostile")
    assert window.complaints == []
    window.close()


def test_a_large_run_is_a_page_that_grows_where_it_is_read(site: Site, browser: Any) -> None:
    """Of ten thousand events a hundred come at once; the rest have their room, and come when scrolled to."""
    window = Window(browser, site.base, expected=NO_STREAM)
    assert window.open(f"/runs/{LARGE}/events") == 200
    rows = window.page.locator(".ev-row[id]")
    assert rows.count() <= 300
    assert window.page.locator(f"#e{site.last}").count() == 0

    window.page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    window.page.locator(f"#e{site.last}").wait_for(timeout=20_000)

    assert rows.count() < FACTS / 4
    window.shot("large-run-end")
    window.open(f"/runs/{LARGE}/timeline")
    assert "in which nothing happened" in window.page.locator(".timeline").inner_text() or rows.count() == 0
    assert window.page.locator(".tl-row").count() <= 300
    window.shot("large-run-timeline")
    assert window.complaints == []
    window.close()


def test_a_run_that_grows_is_read_on_from_where_it_was(
    database: Database, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However its facts come, those of a topic before earlier ones of another: each once and in order, every time."""
    monkeypatch.setenv("BACKPLANE_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setenv("BACKPLANE_CLICKHOUSE__URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("BACKPLANE_CLICKHOUSE__DATABASE", database.name)
    desk, every = ConsoleContext(load_settings()), [one for one in records(article().facts) if one.row.run_seq]
    assert len(every) > 20
    for piece in (every[:5], every[5:6], every[9:14], every[6:9], every[14:]):
        database.writer.write(database.writer.prepare(piece))
        known = desk.events(RUN)
        assert known == timeline(desk.store, RUN)
        assert desk.events(RUN) is known


def test_two_thousand_sources_are_one_box_that_opens(site: Site, browser: Any) -> None:
    """What rests on two thousand others is told on a page that can be read: in its list and its graph they are one line
    and one box, which a click opens; the value itself stays in sight."""
    window = Window(browser, site.base, expected=NO_STREAM)
    page = window.page
    window.open(f"/lineage/{LARGE}?key=summary")
    boxes = page.locator("g.box")
    assert boxes.count() < 20
    assert page.evaluate("document.documentElement.scrollHeight") < 2_000
    assert "and 1\u202f992 more" in page.locator(".story").inner_text()
    window.shot("large-lineage")
    page.locator(".hops summary").filter(has_text="2000 × note").click()
    assert page.locator(".hops .hops li").count() == 40
    assert page.get_by_role("link", name="in the list of events").is_visible()
    page.locator("g.fold").filter(has_text="2000 × note").click()
    page.wait_for_load_state()
    assert 40 <= boxes.count() < 80
    assert page.locator("g.box.root").is_visible()
    place, root = page.locator(".graph").bounding_box(), page.locator("g.box.root").bounding_box()
    assert place["y"] <= root["y"] <= place["y"] + place["height"] - root["height"]
    titles = page.locator("g.box.state text:first-of-type").all_text_contents()
    notes = [title for title in titles if title.startswith("note/")]
    assert notes == [f"note/{number}@1" for number in range(40)]
    window.shot("large-lineage-open")
    assert window.complaints == []
    window.close()


def test_pages_are_read_without_scripts(site: Site, browser: Any) -> None:
    """Every chunk has a link, every choice a button; nothing waits for a script."""
    window = Window(browser, site.base, expected=NO_STREAM, java_script_enabled=False)
    for tab, first in (("events", "#e1"), ("timeline", "#s1")):
        window.open(f"/runs/{LARGE}/{tab}")
        assert window.page.locator(first).count() == 1
        window.page.get_by_role("link", name="101 to 200 of ").click()
        window.page.get_by_role("link", name="201 to 300 of ").click()
        assert window.page.locator(first).count() == 0
        window.page.get_by_role("link", name="101 to 200", exact=True).click()
        window.page.get_by_role("link", name="from the first on").click()
        assert window.page.locator(first).count() == 1
    window.open("/")
    window.page.get_by_role("button", name="Dark").click()
    assert window.page.locator("html").get_attribute("data-theme") == "dark"
    window.close()


def test_keys_lead_through_the_pages(site: Site, browser: Any) -> None:
    """Rows, tabs, sections and the search, without a mouse."""
    window = Window(browser, site.base, expected=NO_STREAM)
    page = window.page
    window.open("/runs?workflow=content")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url("**/timeline")
    page.keyboard.press("]")
    page.wait_for_url("**/events")
    page.keyboard.press("g")
    page.keyboard.press("c")
    page.wait_for_url("**/cost")
    page.keyboard.press("/")
    page.keyboard.type("Kafka is a log")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search?q=**")
    page.get_by_text("article@1: where did it come from?").first.click()
    said = page.locator(".story").inner_text()
    assert "content_agent" in said
    assert "small-4" in said
    assert "$0.003750001" in said
    page.keyboard.press("?")
    assert page.locator("dialog#keys").is_visible()
    assert window.complaints == []
    window.close()


def test_what_changes_something_needs_the_page_it_is_on(site: Site) -> None:
    """A request without the page's token, or from a page of another origin, changes nothing."""
    with httpx.Client(base_url=site.base) as client:
        client.get("/")
        token = client.cookies[CSRF]
        for headers, form, code in (
            ({}, {"theme": "dark"}, 403),
            ({}, {"theme": "dark", "csrf": "x" * 32}, 403),
            ({"origin": "http://evil.example"}, {"theme": "dark", "csrf": token}, 403),
            ({}, {"theme": "dark", "csrf": token}, 303),
        ):
            answer = client.post("/theme", data=form, headers=headers)
            assert (answer.status_code, "theme" in answer.cookies) == (code, code == 303)
        assert client.post("/dead-letters/redrive", data={"letter": "x"}).status_code == 403
        assert client.post("/capabilities/echo", data={"state": "disabled"}).status_code == 403
        assert client.get("/", headers={"host": "evil.example"}).status_code == 421


def test_beyond_this_machine_a_token_is_asked_for(site: Site, tmp_path: Path, browser: Any) -> None:
    """By the page of the login in a browser, as a bearer of a program; without one, such a console does not start."""
    secret = tmp_path / "token"
    secret.write_text("a-token-that-is-long-enough\n")
    with console(site.environment, tmp_path / "log", "--token-file", str(secret), host="0.0.0.0") as base:
        assert httpx.get(f"{base}/runs").status_code == 401
        bearer = {"authorization": f"Bearer {secret.read_text().strip()}"}
        assert httpx.get(f"{base}/runs", headers=bearer).status_code == 200
        window = Window(browser, base)
        window.open("/runs?status=completed")
        window.page.get_by_label("Token").fill("wrong")
        window.page.keyboard.press("Enter")
        window.page.get_by_role("alert").wait_for()
        window.page.get_by_label("Token").fill(secret.read_text().strip())
        window.page.keyboard.press("Enter")
        window.page.wait_for_url("**/runs?status=completed")
        window.close()
    with (
        pytest.raises(AssertionError, match="give it a --token-file"),
        console(site.environment, tmp_path / "no", host="0.0.0.0"),
    ):
        pass


def test_files_are_shown_and_nothing_else_of_the_disk(site: Site) -> None:
    """An image as what it is; a page as text, locked in; keys never."""
    folder = Path(site.environment["BACKPLANE_DATA_DIR"])
    store = ArtifactStore(folder)
    made = [store.put(one, "text/html").sha256 for one in (b"\x89PNG\r\n\x1a\n", b"<script>alert(1)</script>")]
    (folder / "published").mkdir(exist_ok=True)
    (folder / "published" / "a.html").write_text("<script>alert(1)</script>")
    (folder / "keys").mkdir(exist_ok=True)
    (folder / "keys" / "master.key").write_text("secret")

    image, *pages = (
        httpx.get(f"{site.base}{where}")
        for where in (*(f"/artifacts/{one}" for one in made), "/files/published/a.html")
    )
    assert image.headers["content-type"] == "image/png"
    for answer in (image, *pages):
        assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
        assert answer.headers["x-content-type-options"] == "nosniff"
    for page in pages:
        assert page.headers["content-type"] == "text/plain; charset=utf-8"
    away = ("keys/master.key", "published/../keys/master.key", "published/%2e%2e/keys/master.key", "/etc/passwd")
    for name in away:
        assert httpx.get(f"{site.base}/files/{name}").status_code == 404
    for name in (*away, "ab" * 32):
        assert httpx.get(f"{site.base}/artifacts/{name}").status_code == 404


POST: Final = b"POST /login HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
HALF: Final = b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: "
MALFORMED: Final = (
    b"GET /static/%00.js HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    b"GET /static/" + b"a" * 5_000 + b".js HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    b"GET /runs/%ff%00/timeline?before=" + b"9" * 5_000 + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    POST + b"Content-Length: 8\r\n\r\ntoken=\xff\xfe",
    POST + b"Content-Length: 99\r\n\r\ntoken=",
    POST + b"Transfer-Encoding: chunked\r\n\r\n" + (b"100000\r\n" + b"x" * 0x100000 + b"\r\n") * 4,
    b"GET / HTTP/1.1\r\nHost: localhost\r\nA: " + b"x" * 2**20 + b"\r\n\r\n",
)


def test_malformed_requests_leave_no_traceback(site: Site) -> None:
    """Each is refused or cut off; nothing of it is this server's fault."""
    log = Path(site.environment["BACKPLANE_DATA_DIR"]) / "console.log"
    port = urlsplit(site.base).port
    told = len(log.read_text())
    for raw in MALFORMED:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as wire:
            answer = b""
            # A server that cuts off may do so before our last word: ENOTCONN, which is no ConnectionError.
            with contextlib.suppress(OSError):
                wire.sendall(raw)
                wire.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionError):
                answer = wire.recv(65_536)
            assert b" 500 " not in answer.split(b"\r\n", 1)[0], raw[:100]
        assert httpx.get(f"{site.base}/health").status_code == 200
    assert "Traceback" not in log.read_text()[told:]


def test_connections_that_say_nothing_shut_nobody_out(site: Site) -> None:
    """However many pages are open, and however slow their senders are."""
    with contextlib.ExitStack() as kept:
        for _ in range(300):
            wire = socket.create_connection(("127.0.0.1", urlsplit(site.base).port), timeout=10)
            kept.enter_context(wire).sendall(HALF)
        assert httpx.get(f"{site.base}/health", timeout=10).status_code == 200


def test_what_is_not_there_is_told(site: Site) -> None:
    """As a page, with what there is instead."""
    for path, code, said in (
        ("/nowhere", 404, "there is no page"),
        ("/runs/ffffffff/timeline", 404, "no run"),
        (f"/runs/{RUN}/nothing", 404, "there are timeline"),
        (f"/lineage/{RUN}?key=nothing", 404, "it wrote article, brief"),
        ("/sql?q=DROP+TABLE+events", 200, "only SELECT"),
        ("/live?since=nonsense", 400, "is no position"),
        ("/cost?by=moon", 400, "by is one of agent"),
        ("/topics/bp.runs", 503, "bp.runs cannot be read"),
        ("/capabilities?span=all", 200, "only what was called"),
        ("/capabilities/web_search?span=all", 200, "only what was called"),
    ):
        answer = httpx.get(f"{site.base}{path}", timeout=30)
        assert (answer.status_code, said in answer.text) == (code, True), (path, answer.text[-600:])


def test_a_value_that_is_not_kept_any_more_is_told(site: Site) -> None:
    """Not shown as an empty one; its hash is what is left."""
    pages = [
        httpx.get(f"{site.base}/state/version", params={"run": run, "key": "article"}, timeout=30).text
        for run in (EMPTIED, RUN)
    ]

    assert ["Values are kept for 90 days" in page for page in pages] == [True, False]
    assert ["Kafka is a log." in page for page in pages] == [False, True]
