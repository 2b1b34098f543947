"""A console to be looked at: its process, and stories that are large or hostile."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec

from backplane.platform.ports import choose
from backplane.sink.rows import Record
from tests.support.eventually import assert_eventually
from tests.support.stories import NOON, Story, article, records

PAYLOADS: Final = (
    "<script>window.pwned=1</script>",
    "\"><img src=x onerror='window.pwned=2'>",
    "'><svg/onload=window.pwned=3>",
    "</pre></textarea></title><script>window.pwned=4</script>",
    "{{7*7}}{% raw %}",
    "javascript:window.pwned=5",
    "<hx-partial hx-target=body hx-swap=innerHTML>window.pwned</hx-partial>",
)
"""What somebody may write into any field; none of it may become more than text."""
KEPT: Final = frozenset(
    {"kind", "event_id", "causation_id", "command_id", "run_id", "correlation_id", "root_run_id", "parent_run_id"}
    | {"call_id", "delivery_id", "message_id", "request_id", "dependency_id", "resumed_from"}
)
"""Fields by which facts belong together; a hostile run's id has a story of its own."""
HOSTILE_RUN: Final = '"><script>window.pwned=6'


@contextmanager
def console(environment: Mapping[str, str], log: Path, *options: str, host: str = "127.0.0.1") -> Iterator[str]:
    """A console process; its address."""
    port = choose(["console"], {})["console"]
    argv = [sys.executable, "-m", "backplane.console", "--http-port", str(port), "--host", host, *options]
    base = f"http://127.0.0.1:{port}"
    with log.open("ab") as out:
        process = subprocess.Popen(argv, stdout=out, stderr=out, env={**os.environ, **environment})
    try:
        assert_eventually(lambda: process.poll() is not None or _answers(base), limit_s=60)
        assert process.poll() is None, log.read_text()
        yield base
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(15)


def _answers(base: str) -> bool:
    try:
        assert httpx.get(f"{base}/health").status_code == 200
        return True
    except httpx.TransportError as error:
        raise AssertionError(str(error)) from error


def links(base: str, start: list[str], limit: int, apart: tuple[str, ...] = ()) -> dict[str, httpx.Response]:
    """The pages that are reached from some, breadth first, by their addresses. ``apart``: what begins so is left out,
    and with it what Kafka is asked for."""
    skipped = ("/static/", "/files/", "/artifacts/", *apart)
    seen: dict[str, httpx.Response] = {}
    with httpx.Client(base_url=base, follow_redirects=True, timeout=30) as client:
        waiting = list(start)
        while waiting and len(seen) < limit:
            where = waiting.pop(0)
            if where in seen:
                continue
            seen[where] = answer = client.get(where)
            found = re.findall(r'(?:href|hx-get)="(/[^"#]*)', answer.text)
            waiting += [
                link.replace("&amp;", "&")
                for link in found
                if not (link.startswith(skipped) or (apart and "kafka=" in link))
            ]
    return seen


def hostile(run_id: str = "01930000-0000-7000-8000-00000000000e", at: int = NOON) -> list[Record]:
    """A run in which every text that can be chosen by anybody is an attack."""
    made = []
    for number, record in enumerate(records(article(run_id, at).facts, partition=1)):
        fact = record.row
        texts = {
            name: _attack(number + index, value)
            for index, (name, value) in enumerate(msgspec.structs.asdict(fact).items())
            if name not in KEPT and (isinstance(value, str) or (isinstance(value, list) and value))
        }
        made.append(record._replace(row=msgspec.structs.replace(fact, **texts)))
    return made


def _attack(number: int, value: Any) -> Any:
    attack = PAYLOADS[number % len(PAYLOADS)]
    return [attack, f"{attack}@1"] if isinstance(value, list) else attack


def large(run_id: str, notes: int = 2_000, facts: int = 10_000, at: int = NOON) -> Story:
    """A run of so many facts: one agent reads so many notes and writes a summary of them, then goes on and on."""
    story = Story(run_id, at, partition=2)
    story.register("scout", ["run.started"])
    story.send("StartRun", "client", workflow="survey", complete_when="explicit", input="{}")
    job = story.delivered("scout", "run.started")
    for number in range(notes):
        story.send("SetState", "client", key=f"note/{number}", value=f'"note {number}"')
    for number in range(notes):
        story.send("GetState", "scout", handling=job, key=f"note/{number}")
    story.send("SetState", "scout", handling=job, key="summary", value='"all of them"')
    while len(story.facts) < facts - 2:
        if len(story.facts) % 1_000 == 0:
            story.at += 3_600_000_000
        story.send("SetState", "scout", handling=job, key="progress", value=str(len(story.facts)))
    story.send("CompleteHandler", "scout", handling=job, attempt=1)
    story.send("CompleteRun", "client", result="null")
    return story
