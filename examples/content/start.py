"""Starts a run and waits for the page: ``python start.py "asynchronous networking"``, while the agents run."""

from __future__ import annotations

import sys

from article import Brief, Page

from agents_sdk import Backplane, Run


def start(backplane: Backplane, topic: str, run_id: str | None = None) -> Run:
    """First who waits for whom, then the word to begin: so nobody can be done before he is waited for."""
    run = backplane.start_run("content", {"topic": topic}, run_id=run_id, state={"brief": Brief(topic=topic)})
    run.declare_dependency("content_agent", ["research_agent"], trigger_when="all_completed", name="findings.ready")
    run.declare_dependency("publish_agent", ["media_agent"], trigger_when="all_completed", name="hero.ready")
    run.publish("brief.ready")
    return run


if __name__ == "__main__":
    with Backplane.connect() as connected:
        made = start(connected, " ".join(sys.argv[1:]) or "asynchronous networking")
        print(made.wait().status, made.state.get("page", Page).url)
