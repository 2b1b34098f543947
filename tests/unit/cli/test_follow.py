"""What `backplane run --follow` says of each fact as it comes."""

from __future__ import annotations

from backplane.cli.follow import Teller
from tests.support.stories import article
from tests.unit.insight.test_lineage import events


def test_a_call_is_told_when_it_is_made_when_a_provider_fails_and_when_it_is_settled() -> None:
    """In the words of the timeline, which folds them into one line."""
    teller = Teller()
    told = [(line.mark, line.text) for event in events(article()) for line in teller.lines(event)]

    search = [line for line in told if "web_search" in line[1]]
    assert search == [
        ("⚙", "calls web_search, no answer yet"),
        ("✗", "web_search: brave: rate_limited: 429, try in 3 s"),
        ("└", "calls web_search → corpus, fallback from brave"),
    ]
    assert told.index(search[1]) - told.index(search[0]) == 1


def test_what_ends_tells_how_long_it_took_and_what_it_cost() -> None:
    """At the time of its end."""
    teller, story = Teller(), events(article())
    ends = {line.text: line for event in story for line in teller.lines(event) if line.mark == "└"}

    assert ends["handles run.started from client"].duration_us == 77_000
    assert ends["calls web_search → corpus, fallback from brave"].cost_nano_usd == 1_500_000
    assert all(line.at in {event.at for event in story} for line in ends.values())
