"""``backplane explain`` against the real engine: stories of runs that failed, or went well."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from backplane.cli.output import ExitCode
from tests.integration.sink.conftest import Database, Done
from tests.support.stories import article, records
from tests.unit.insight.test_postmortem import ADVICE, RUN, fail, failed_search, searching

WELL = article()


@pytest.fixture
def backplane(database: Database, commands: Callable[..., Done]) -> Callable[..., Done]:
    """Runs a command line on a store that has a run which failed and one that recovered."""
    story, job = searching()
    failed_search(story, job)
    fail(story, job, "brave is down")
    database.writer.write(database.writer.prepare(records([*story.facts, *WELL.facts])))
    return commands


def test_a_failure_is_explained_as_a_document(backplane: Callable[..., Done]) -> None:
    """Each fact with its place in Kafka; the report that the executor wrote is read whole."""
    done = backplane("explain", RUN, "--json")

    assert done.code == ExitCode.OK
    told = done.json
    assert (told["status"], told["verdict"], told["complete"]) == ("failed", "failed", True)
    assert [fact["kind"] for fact in told["chain"]] == [
        "AttemptFailed", "CallFailed", "HandlerFailed", "MessageDeadLettered", "RunFailed"
    ]  # fmt: skip
    assert told["first_cause"] == told["chain"][0]
    assert (told["first_cause"]["topic"], told["first_cause"]["text"]) == (
        "bp.attempts", "brave failed web_search: outage: 503"
    )  # fmt: skip
    assert told["next_steps"] == [ADVICE, f"then `backplane resume {RUN}`"]
    assert told["tried"][0]["not_tried"] == ["web_search/tavily: its key is not set"]
    assert (told["cost_nano_usd"], told["wasted_nano_usd"], told["lost_nano_usd"]) == (10, 10, 10)


def test_a_failure_is_explained_in_words(backplane: Callable[..., Done]) -> None:
    """What a person reads, from the first cause to what to do."""
    lines = backplane("explain", RUN[:-1]).out.splitlines()

    assert lines[0].startswith(f"{RUN}  w  failed: agent 'searcher' failed 2 times on 'run.started'")
    heads = [line for line in lines[1:] if not line.startswith(" ")]
    assert heads == ["First cause", "which led to", "It spread to", "What was tried", "Cost", "What to do"]
    assert lines[2].startswith("  brave failed web_search: outage: 503  bp.attempts[0]@")
    assert lines[-2:] == [f"  1. {ADVICE}", f"  2. then `backplane resume {RUN}`"]


def test_a_run_that_recovered_has_nothing_to_do(backplane: Callable[..., Done]) -> None:
    """What failed, and what was done about it."""
    out = backplane("explain", WELL.run_id).out

    assert "completed, and what failed was made good: tried again, or elsewhere" in out
    assert "brave: rate_limited: 429, try in 3 s" in out
    assert "What to do" not in out
