"""Starting a run from a program that has no event loop, and waiting for its end."""

from agents_sdk import Backplane


def summary_of(topic: str) -> str:
    """The summary that the agents of ``hello.py`` write."""
    with Backplane.connect(name="website") as backplane:
        run = backplane.start_run("hello", {"topic": topic}, budget="0.10 USD")
        outcome = run.wait(timeout=60)
        if outcome.status != "completed":
            raise RuntimeError(f"run {run.id} {outcome.summary}")
        found: str = run.state.get("summary")
        return found
