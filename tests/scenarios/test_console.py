"""The console on the run of the demo, in a real browser: every page, live, for everybody; and dead letters put back."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from agents_sdk.blocking import Backplane
from agents_sdk.wire.registry import connect_codec
from backplane.console.positions import read_mark
from backplane.manifests.switches import read as read_registry
from backplane.platform.platform import LocalPlatform
from tests.support.browser import NARROW, Window, chromium
from tests.support.console import links
from tests.support.console_agents import LATE, agents
from tests.support.eventually import assert_eventually
from tests.support.wire import wire

CUT = """() => [...document.querySelectorAll("main .scroll, main .timeline, main .graph")]
    .filter((one) => one.scrollWidth > one.clientWidth + 1).map((one) => one.textContent.trim().slice(0, 80))"""
"""What is wider than its frame, so that a column of it is cut."""
TABS = ("timeline", "events", "lineage", "cost", "state", "messages", "artifacts", "why")
SECTIONS = (
    *("Overview", "Runs", "Agents", "State", "Lineage", "Cost", "Capabilities", "Dead letters", "Topics", "Schemas"),
    "SQL",
)


@pytest.fixture(scope="module")
def base(platform: LocalPlatform) -> str:
    """The console that the platform brings."""
    address = f"http://127.0.0.1:{platform.port('console')}"

    def ready() -> None:
        assert platform.part("console")["state"] == "ready"

    assert_eventually(ready, limit_s=60)
    return address


@pytest.fixture(scope="module")
def run(platform: LocalPlatform) -> str:
    """The demo's run."""
    argv = [sys.executable, "-m", "backplane.cli.app", "demo", "--json", "--topic", "event streaming"]
    where = ["--data-dir", str(platform.settings.data_dir)]
    done = subprocess.run([*argv, *where], capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return str(json.loads(done.stdout)["run_id"])


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as running:
        yield running


@pytest.mark.timeout(300)  # a hundred and fifty pages, of a second each on a busy machine
def test_every_link_leads_to_a_page(base: str, run: str) -> None:
    """From the first page on; none is broken, none asks for what is not there."""
    found = links(base, ["/", f"/runs/{run}"], 150)

    assert len(found) >= 120
    assert {where: answer.status_code for where, answer in found.items() if answer.status_code != 200} == {}


def test_five_clicks_from_a_wrong_sentence_to_all_there_is_to_know(base: str, run: str, browser: Any) -> None:
    """Which agent wrote it, from what data, with which prompt and model, and what the run cost."""
    window = Window(browser, base)
    page = window.page
    window.open("/")
    page.get_by_label("Search every fact").fill("Faust is a stream")
    page.keyboard.press("Enter")  # one
    page.wait_for_url("**/search?**")
    page.get_by_role("link", name="draft@").first.click()  # two
    story = page.locator(".story")
    story.wait_for()
    said = story.inner_text()
    for needed in ("content_agent", "research_findings@1", "extractive-textrank-1", "prompt", "The run cost $0.0"):
        assert needed in said
    assert page.locator("mark").first.inner_text() == "Faust is a stream"
    window.shot("lineage")
    story.get_by_role("link", name="research_findings@1").first.click()  # three
    page.wait_for_url("**key=research_findings**")
    assert "web_search" in page.locator(".story").inner_text()
    assert window.complaints == []
    window.close()


@pytest.mark.parametrize(
    ("scheme", "viewport", "rules"),
    [
        ("light", None, ()),
        ("dark", None, ("color-contrast",)),
        ("light", NARROW, ("scrollable-region-focusable",)),
    ],
    ids=["light", "dark", "narrow"],
)
def test_everything_is_seen_by_clicking(
    base: str, run: str, browser: Any, scheme: str, viewport: Any, rules: tuple[str, ...]
) -> None:
    """All sections and all tabs of the run, light and dark, wide and narrow: no complaint of the browser, nothing that
    keeps people out (in the dark and in a narrow window: of what may differ there), nothing wider than the window."""
    window = Window(browser, base, color_scheme=scheme, **({"viewport": viewport} if viewport else {}))
    page, name = window.page, f"{'narrow' if viewport else 'wide'}-{scheme}"
    window.open("/")
    for section in SECTIONS:
        page.get_by_role("navigation", name="Sections").get_by_role("link", name=section, exact=True).click()
        page.wait_for_load_state()
        _looked_at(window, f"{name}-{section.lower().replace(' ', '-')}", rules)
    window.open(f"/runs/{run}")
    for tab in TABS:
        page.get_by_role("navigation", name="Views of the run").get_by_role("link", name=tab.capitalize()).click()
        page.wait_for_url(f"**/{tab}")
        _looked_at(window, f"{name}-run-{tab}", rules)
    for picture, path in {
        "walk": f"/lineage/{run}?key=page",
        "version": f"/state/version?run={run}&key=draft&version=2",
        "agent": "/agents/content_agent",
        "capability": "/capabilities/web_search",
        "topic": "/topics/bp.state",
        "schema": "/schemas/StateEvent",
        "answer": "/sql?q=SELECT+agent,cost_usd+FROM+v_cost",
        "found": "/search?q=Kafka",
        "models": "/cost?by=model",
        "login": "/login",
    }.items():
        window.open(path)
        _looked_at(window, f"{name}-{picture}", rules)
    assert window.complaints == []
    window.close()


def _looked_at(window: Window, name: str, rules: tuple[str, ...]) -> None:
    window.shot(name)
    assert window.hindrances(*rules) == [], name
    overflow = window.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow <= 0, name
    if window.page.viewport_size["width"] >= 1440:
        assert window.page.evaluate(CUT) == [], name


def test_a_walk_begins_at_a_message_or_an_artifact_and_is_verified(base: str, run: str, browser: Any) -> None:
    """From the list of messages, from a hash; each hop is read in Kafka and found the same."""
    window = Window(browser, base)
    page = window.page
    window.open(f"/runs/{run}/messages")
    page.locator("tbody").get_by_role("link", name="findings.ready").first.click()
    assert page.locator("h1").inner_text() == "Where findings.ready came from"
    assert "research_agent" in page.locator(".story").inner_text()
    page.get_by_role("link", name="verify each in Kafka").click()
    page.get_by_text("same in Kafka").first.wait_for()
    assert page.get_by_text("same in Kafka").count() == page.locator(".hops").first.locator("li").count() + 1
    assert page.get_by_text("differs").count() == 0
    window.shot("verified")
    assert window.hindrances() == []
    window.open(f"/runs/{run}/artifacts")
    image = page.locator(".preview img").first.get_attribute("alt")
    window.open(f"/lineage?q={image}")
    assert "image_generation" in page.locator(".story").inner_text()
    assert window.complaints == []
    window.close()


def test_pictures_that_agents_made_are_shown(base: str, run: str, browser: Any) -> None:
    """The hero image as an image, the page as text."""
    window = Window(browser, base)
    window.open(f"/runs/{run}/artifacts")
    image = window.page.locator(".preview img").first
    assert image.evaluate("(one) => one.decode().then(() => one.naturalWidth)") > 100
    assert window.page.get_by_text("index.html").count() == 1
    window.close()


@pytest.mark.timeout(500)
def test_a_browser_that_was_away_misses_nothing(platform: LocalPlatform, base: str, browser: Any) -> None:
    """Facts appear as they come; those that came while the connection was cut appear when it is back, each once."""
    with Backplane.connect(platform.settings, name="viewer") as backplane, wire(base) as (address, between):
        started = backplane.start_run(complete_when="explicit", workflow="watched")
        started.state.set("n", 0)
        window = Window(browser, address, expected=("net::ERR_", "htmx:sse:error"))
        page = window.page

        def listed() -> list[int]:
            return [int(one[1:]) for one in page.eval_on_selector_all(".ev-row[id]", "all => all.map(e => e.id)")]

        def stored() -> None:
            assert httpx.get(f"{base}/runs/{started.id}/events").status_code == 200

        assert_eventually(stored, limit_s=30)
        window.open(f"/runs/{started.id}/events")
        page.wait_for_selector("#live", state="attached")
        for number in range(1, 20):
            started.state.set("n", number)
        _shows(listed, 21)
        assert between.cut() >= 1
        for number in range(20, 60):
            started.state.set("n", number)
        between.mend()
        started.state.set("n", 60)
        _shows(listed, 62)
        started.complete()
        _shows(listed, 63)
        window.shot("live")
        assert window.complaints == []
        window.close()


def test_a_page_whose_stream_does_not_begin_asks_again(platform: LocalPlatform, base: str, browser: Any) -> None:
    """A console that is busy or away when the page has just come refuses the stream, or does not answer."""
    with Backplane.connect(platform.settings, name="viewer") as backplane:
        started = backplane.start_run(complete_when="explicit", workflow="watched")
        started.state.set("n", 0)

        def stored() -> None:
            assert httpx.get(f"{base}/runs/{started.id}/events").status_code == 200

        assert_eventually(stored, limit_s=30)
        window = Window(browser, base, expected=("net::ERR_", "503", "htmx:"))
        page = window.page
        refusals = [lambda route: route.abort(), lambda route: route.fulfill(status=503, body="busy")]

        def refused(route: Any) -> None:
            if refusals:
                refusals.pop()(route)
            else:
                route.continue_()

        page.route("**/live?**", refused)
        window.open(f"/runs/{started.id}/events")
        for number in range(1, 4):
            started.state.set("n", number)
        page.wait_for_selector("#e5", timeout=60_000)
        assert refusals == []
        assert window.complaints == []
        window.close()


def _shows(listed: Any, last: int) -> None:
    def all_of_them() -> None:
        assert listed() == list(range(1, last + 1))

    assert_eventually(all_of_them, limit_s=120)


def test_a_stream_goes_on_at_its_last_event(platform: LocalPlatform, base: str) -> None:
    """Cut anywhere, with the id that came last: what was sent before and what is sent then are all facts, each once."""
    with Backplane.connect(platform.settings, name="viewer") as backplane:
        started = backplane.start_run(complete_when="explicit", workflow="watched")
        seen: list[int] = []
        last_id = ""
        since = "~".join(f"{topic}-{partition}-0" for topic in ("runs", "state") for partition in range(16))
        for round_ in range(4):
            for number in range(25):
                started.state.set("n", round_ * 25 + number)
            headers = {"last-event-id": last_id} if last_id else {}
            query = {"run": started.id, "tab": "events", "since": since}
            with httpx.stream("GET", f"{base}/live", params=query, headers=headers, timeout=30) as answer:
                for line in answer.iter_lines():
                    if line.startswith("id: "):
                        last_id = line[4:]
                        read_mark(last_id)
                    seen += [int(one) for one in re.findall(r'id="e(\d+)"', line)]
                    # an event is whole with the empty line behind it; only then does its id count
                    if not line and len(seen) >= 26 + 25 * round_ - 7:
                        break
        with httpx.stream(
            "GET", f"{base}/live", params=query, headers={"last-event-id": last_id}, timeout=30
        ) as answer:
            for line in answer.iter_lines():
                seen += [int(one) for one in re.findall(r'id="e(\d+)"', line)]
                if not line and len(seen) >= 101:
                    break
        assert sorted(seen) == list(range(1, 102))
        started.complete()


def test_a_capability_is_switched_for_the_whole_fleet(platform: LocalPlatform, base: str, browser: Any) -> None:
    """Paused, resumed and disabled with a reason by clicks: the registry says so, as it does to the command line."""

    def state() -> tuple[str, str]:
        switch = read_registry(platform.settings, connect_codec(platform.settings)).catalogue.switch(*told)
        return switch.state, switch.reason

    told: tuple[str, ...] = ("echo",)
    window = Window(browser, base)
    page = window.page
    window.open("/capabilities")
    assert page.locator("section").get_by_text("alive").count() >= 1
    page.get_by_role("link", name="echo", exact=True).click()
    page.get_by_label("Reason").fill("too <b>dear</b>")
    page.get_by_role("button", name="Pause").click()
    page.get_by_text("Paused by console").wait_for()
    assert state() == ("paused", "too <b>dear</b>")
    page.get_by_role("button", name="Resume echo").click()
    page.get_by_role("button", name="Pause").wait_for()
    assert state() == ("enabled", "")
    told = ("echo", "echo")
    page.get_by_role("button", name="Disable echo", exact=True).click()
    page.get_by_role("button", name="Enable echo").wait_for()
    assert state()[0] == "disabled"
    assert page.locator("h1 .status").inner_text() == "dead"
    window.shot("switched")
    page.get_by_role("button", name="Enable echo").click()
    page.get_by_role("button", name="Disable echo", exact=True).wait_for()
    assert state()[0] == "enabled"
    assert window.complaints == []
    window.close()


def test_a_dead_letter_is_found_tried_and_put_back(
    platform: LocalPlatform, base: str, browser: Any, tmp_path: Path
) -> None:
    """From its cause to what it says; a dry run tells what would be done and does nothing; then it is done."""
    (tmp_path / "late.py").write_text(LATE)
    with Backplane.connect(platform.settings, name="viewer") as backplane:
        with agents(platform, tmp_path / "late.py"):
            started = backplane.start_run("late", complete_when="explicit")
        started.send("late_console_agent", "go", {"n": 1}, deadline_seconds=0.01)
        window = Window(browser, base)
        page = window.page

        def dead() -> None:
            window.open(f"/dead-letters?cause=expired&run={started.id}")
            assert page.locator("tbody tr").count() == 1

        assert_eventually(dead, limit_s=60)
        window.shot("dead-letters")
        page.get_by_label("All letters").check()
        page.get_by_role("button", name="What would a redrive do?").click()
        assert page.locator("h1").inner_text() == "A redrive would put back 1 letter"
        dead()
        page.locator("tbody a.place").click()
        assert "late_console_agent" in page.locator("main").inner_text()
        page.get_by_role("button", name="What would a redrive do?").click()
        page.get_by_role("button", name="Put it back").click()
        page.get_by_role("heading", name="Redriven 1 letter").wait_for()
        window.shot("redriven")

        def handled() -> None:
            assert started.state.get("heard") == 1

        with agents(platform, tmp_path / "late.py"):
            assert_eventually(handled, limit_s=30)
        assert window.complaints == []
        window.close()
        started.complete()
