"""``backplane explain``: the post-mortem of a run, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

import msgspec

from backplane.cli.asked_run import AskedRun, RunArgument, Wait, slim
from backplane.cli.output import DataDir, JsonFlag, interactive, print_json

if TYPE_CHECKING:
    from backplane.cli.data_text import Text
    from backplane.insight.answers import Event, RunRow
    from backplane.insight.postmortem import FailureTreatment, PostMortem

SPREAD_SHOWN: Final = 20
"""Lines of what came of it; the document has them all."""


def explain(run: RunArgument, wait: Wait = True, as_json: JsonFlag = False, data_dir: DataDir = None) -> None:
    """Tell why a run failed or had to do with less: the first failure, its spread, also from and to its child runs. It
    shows attempts, cost and the next step."""
    from backplane.insight.answers import reports, timeline
    from backplane.insight.answers import runs as ask_runs
    from backplane.insight.failure_causes import related
    from backplane.insight.postmortem import explain as made_of

    asked = AskedRun(run, data_dir, wait)
    about = ask_runs(asked.client, 1, asked.run)[0]
    events = related(asked.run, lambda one: timeline(asked.client, one))
    found = made_of(asked.run, events, reports(asked.client, sorted({event.run_id for event in events})))
    if as_json:
        head = {"run_id": asked.run, "workflow": about.workflow, "status": about.status}
        head |= {"reason": about.reason, "said": about.said, "said_by": about.said_by}
        print_json({**head, "complete": asked.seen.whole, **_document(found)})
    else:
        from backplane.cli.paint import show

        for line in _page(about, found):
            show(line, interactive())
    asked.finish()


def _document(found: PostMortem) -> dict[str, Any]:
    document = {**msgspec.to_builtins(found), "first_cause": _fact(found.first_cause) if found.first_cause else None}
    for name in ("chain", "other_causes", "spread"):
        document[name] = [_fact(event) for event in getattr(found, name)]
    return document


def _fact(event: Event) -> dict[str, Any]:
    from backplane.insight.wording import in_words

    return {"text": in_words(event), **slim(event), "run_seq": event.run_seq}


def _page(about: RunRow, found: PostMortem) -> Iterator[Text]:
    from agents_sdk.core.money import dollars
    from agents_sdk.core.words import attributed, ended
    from backplane.cli.data_text import Text
    from backplane.insight.wording import duration, ending

    end = ending(about.status, found)
    if found.verdict in ("failed", "cancelled"):
        end = attributed(ended(about.status, about.reason), about.said, about.said_by)
    yield Text.assemble((found.run_id, "bold"), f"  {about.workflow}  ", (end, "bold"))
    if found.first_cause is None:
        return
    yield from _part("First cause", [_line(found.first_cause)])
    yield from _part("which led to", map(_line, found.chain[1:]))
    yield from _part("Besides", map(_line, found.other_causes))
    yield from _part("It spread to", _some([_line(event) for event in found.spread]))
    yield from _part("What was tried", (line for tried in found.tried for line in _tried(tried)))
    unpriced = f", and {found.unpriced} attempts without a price" if found.unpriced else ""
    cost = f"{dollars(found.lost_nano_usd)} came to nothing, {dollars(found.wasted_nano_usd)} went into failed attempts"
    lasted = f"{duration(found.lasted_us)} from the first cause to the end"
    yield from _part("Cost", [f"{cost}, of {dollars(found.cost_nano_usd)}{unpriced}; {lasted}"])
    yield from _part("What to do", (f"{number}. {step}" for number, step in enumerate(found.next_steps, 1)))


def _part(title: str, lines: Iterable[str]) -> Iterator[Text]:
    from backplane.cli.data_text import Text

    for number, line in enumerate(lines):
        if not number:
            yield Text(title, style="bold")
        yield Text(f"  {line}")


def _some(lines: list[str]) -> list[str]:
    left = len(lines) - SPREAD_SHOWN
    return [*lines[:SPREAD_SHOWN], f"… and {left} more (--json has them)"] if left > 0 else lines


def _line(event: Event) -> str:
    from backplane.insight.wording import in_words

    return f"{in_words(event)}  {event.topic}[{event.partition}]@{event.offset}"


def _tried(tried: FailureTreatment) -> Iterator[str]:
    redriven = f", redriven {tried.redrives} times" if tried.redrives else ""
    yield f"{tried.what} for {tried.agent}: {tried.outcome}{redriven}"
    yield from (f"  {attempt}" for attempt in tried.attempts)
    yield from (f"    {line}" for line in tried.traceback.rstrip().splitlines())
    yield from (f"  not asked: {reason}" for reason in tried.not_tried)
