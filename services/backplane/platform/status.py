"""The running parts, now: the supervisor's record, with facts that only the kernel and the parts themselves know."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any, Final, NamedTuple

import psutil

from backplane.access.principals import service_token
from backplane.platform import probes
from backplane.platform.layout import Layout
from backplane.platform.policy import PlatformState

GONE: Final = "gone"
"""The record has a process that there is not: the supervisor could not write down how it ended, on a full disk say."""


def read(layout: Layout) -> dict[str, Any]:
    """State of the platform and of each part: pid, port, rss_mb, restarts, uptime_s, lag by topic, last_exit. How many
    deliveries each agent has not handled yet, and how many commands were refused for want of identity, by code.
    Declared rights that an operator has not granted. Whether the store's books balanced when it last looked. Partitions
    that are put aside, and other things to mend."""
    if not layout.running():
        return {
            "state": "stopped",
            "data_dir": str(layout.data_dir),
            "rss_mb": 0,
            "parts": [],
            "inboxes": {},
            "refused": {},
            "withheld": {},
            "books": None,
            "aside": {},
            "notices": [],
        }
    record = layout.read_record()
    said = asyncio.run(_work(record.get("parts", {}), service_token(layout.data_dir)))
    parts = [_part(name, part, said.lags.get(name, {})) for name, part in record.get("parts", {}).items()]
    state = record.get("state", "starting")
    if state == PlatformState.READY and (said.aside or any(part["state"] == GONE for part in parts)):
        state = PlatformState.DEGRADED.value
    supervisor = record.get("supervisor", {})
    own = {"pid": supervisor.get("pid"), "rss_mb": _rss_mb(supervisor.get("pid"))}
    return {
        "state": state,
        "data_dir": str(layout.data_dir),
        "profile": record.get("profile"),
        "supervisor": own,
        "settings": record.get("settings", {}),
        "rss_mb": sum(part["rss_mb"] or 0 for part in parts) + (own["rss_mb"] or 0),
        "parts": parts,
        "inboxes": said.inboxes,
        "refused": said.refused,
        "withheld": said.withheld,
        "books": said.books,
        "aside": said.aside,
        "notices": said.notices,
    }


def _part(name: str, part: dict[str, Any], lag: dict[str, int]) -> dict[str, Any]:
    started = part["started_at"]
    gone = bool(part["pid"]) and not psutil.pid_exists(part["pid"])
    return {
        "part": name,
        "state": GONE if gone else part["state"],
        "pid": part["pid"],
        "port": part["port"],
        "rss_mb": _rss_mb(part["pid"]),
        "restarts": part["restarts"],
        "uptime_s": round(time.time() - started) if started else None,
        "lag": lag or None,
        "last_exit": "not recorded: `backplane logs supervisor` and `backplane doctor`" if gone else part["last_exit"],
        "log": part["log"],
        "task": part["task"],
        # A task that went well is over; people look for what runs.
        "shown": not (part["task"] and part["state"] == "done" and not part["last_exit"]),
    }


def _rss_mb(pid: int | None) -> int | None:
    try:
        return psutil.Process(pid).memory_info().rss // 1_048_576 if pid else None
    except psutil.Error:
        return None


class _Said(NamedTuple):
    """Reports of the parts about their work."""

    lags: dict[str, dict[str, int]]
    """Kafka and the registry have none."""
    inboxes: dict[str, int]
    refused: dict[str, int]
    withheld: dict[str, list[str]]
    """Agent → what it declares and was not granted."""
    books: dict[str, Any] | None
    aside: dict[str, Any]
    """Partition of bp.commands → where it stands still and why."""
    notices: list[dict[str, Any]]
    """Irregularities, and their remedies."""


async def _work(parts: dict[str, Any], token: str) -> _Said:
    asked = {
        name: part["port"]
        for name, part in parts.items()
        if part["port"] and part["state"] == "ready" and name not in ("kafka", "registry")
    }
    ledgers = [port for name, port in asked.items() if name.startswith("ledger")]
    said = await asyncio.gather(*(probes.health(port, token=token) for port in asked.values()))
    lags = {name: answer.get("lag", {}) for name, answer in zip(asked, said, strict=True)}
    books = next((answer["books"] for answer in said if answer.get("books")), None)
    aside = {number: place for answer in said for number, place in answer.get("aside", {}).items()}
    notices = [notice for answer in said for notice in answer.get("notices", [])]
    inboxes, refused = await _summed(ledgers, "/inboxes", token), await _summed(ledgers, "/refused", token)
    return _Said(lags, inboxes, refused, await _withheld(ledgers, token), books, aside, notices)


async def _withheld(ports: list[int], token: str) -> dict[str, list[str]]:
    """The longest list of each agent: a grant reaches one partition after the other."""
    found: dict[str, list[str]] = {}
    for said in await asyncio.gather(*(probes.health(port, path="/withheld", token=token) for port in ports)):
        for agent, missing in said.items() if "error" not in said else ():
            found[agent] = max(found.get(agent, []), missing, key=len)
    return dict(sorted(found.items()))


async def _summed(ports: list[int], path: str, token: str) -> dict[str, int]:
    total: Counter[str] = Counter()
    for one in await asyncio.gather(*(probes.health(port, path=path, token=token) for port in ports)):
        total.update(one)
    return dict(sorted(total.items()))
