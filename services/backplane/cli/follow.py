"""``backplane run RUN --follow``: a run's facts as they come, in its order, until it has ended."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import typer

from agents_sdk.core import kinds
from backplane.cli.output import CommandError, ExitCode, interactive, message
from backplane.cli.shown import escaped_json
from backplane.insight.wording import Line, lines_of

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from agents_sdk.settings import Settings
    from backplane.insight.answers import Event

ENDS: Final = {
    kinds.RUN_COMPLETED: ExitCode.OK,
    kinds.RUN_FAILED: ExitCode.FAILURE,
    kinds.RUN_CANCELLED: ExitCode.FAILURE,
}
WAIT_S: Final = 0.5
"""How long Ctrl-C may take; a fact is shown at once."""
PAGE: Final = 10_000
"""Facts asked of the store at once; 5 MB."""
BEGINS: Final = (kinds.CALL_REQUESTED, kinds.MESSAGE_DELIVERED)
PARTS: Final = (*kinds.CALL_OUTCOMES, *kinds.ATTEMPT_OUTCOMES, kinds.HANDLER_COMPLETED)
DONE: Final = "└"


def follow(settings: Settings, text: str, *, as_json: bool) -> None:
    """Prints the facts of the run that ``text`` names, from its first to the one that ends it, each once. They are
    lines for people or JSON; future facts come when they are there. A whole id may be of a run that begins later. Ends
    the command with 0 if the run completed, else with 1; interrupted, it says nothing."""
    from backplane.store.queries import connect_store

    client = connect_store(settings)
    run = _named(settings, client, text)
    say = _json if as_json else _painter()
    try:
        for event in facts(settings, client, run):
            say(event)
            if event.kind in ENDS:
                raise typer.Exit(ENDS[event.kind])
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None


def _named(settings: Settings, client: Client, text: str) -> str:
    """The run's id; the text itself where the store, once it has all that Kafka has, knows no run that begins so."""
    from backplane.cli.asked_run import await_store
    from backplane.insight.answers import LATEST, find_run, runs_like

    if text not in LATEST and not runs_like(client, text):
        await_store(settings)
        if not runs_like(client, text):
            message(f"waiting: no run {text!r} has begun yet")
            return text
    found = find_run(client, text)
    if found != text:
        message(f"run: {found}")
    return found


def facts(settings: Settings, client: Client, run: str) -> Iterator[Event]:
    """All facts of a run in its order, each once, without an end. They are those of the store, and from its offsets on
    those of Kafka, present and future. The offsets are asked for first: facts that the store took meanwhile come twice,
    and appear once.

    Raises:
        CommandError: Kafka has lost some of them.
        Unreachable: the store, Kafka or the registry does not answer.
    """
    from confluent_kafka import KafkaException

    from agents_sdk.wire.registry import connect_codec
    from agents_sdk.wire.topics_admin import mapped
    from backplane.insight.figures import positions
    from backplane.insight.in_order import InOrder
    from backplane.insight.tail import Tail, event_of

    following = {(place.topic, place.partition): place.last_offset + 1 for place in positions(client)}
    order = InOrder()
    for page in _stored(client, run):
        yield from order.take(page)
    with closing(Tail(settings, connect_codec(settings), following, run, group="bp.follow")) as tail:
        while True:
            if tail.lost:
                raise CommandError(
                    "not_verified",
                    f"Kafka has lost {tail.lost} records that the store has not",
                    f"`backplane run {run}` shows what there is",
                )
            try:
                came = tail.take(WAIT_S)
            except KafkaException as error:
                raise mapped(error, settings, f"run {run} cannot be followed") from error
            yield from order.take(map(event_of, came))


def _stored(client: Client, run: str) -> Iterator[list[Event]]:
    from backplane.insight.answers import timeline

    after, whole = 0, True
    while whole:
        page = timeline(client, run, after, PAGE)
        yield page
        whole = len(page) == PAGE
        after = page[-1].run_seq if page else 0


def _painter() -> Callable[[Event], None]:
    from backplane.cli.paint import paint_line

    teller, colour = Teller(), interactive()
    lanes: dict[str, str] = {}
    began: list[int] = []

    def paint(event: Event) -> None:
        began.append(event.at) if not began else None
        for line in teller.lines(event):
            paint_line(line, began[0], lanes, colour)

    return paint


def _json(event: Event) -> None:
    from backplane.cli.asked_run import slim

    print(escaped_json(json.dumps({**slim(event), "run_seq": event.run_seq}, ensure_ascii=False)), flush=True)


class Teller:
    """Facts as lines, one fact at a time. A fact that a timeline folds into the line of a call or delivery stands by
    itself, when it comes."""

    def __init__(self) -> None:
        self._open: dict[str, list[Event]] = {}
        """Call or delivery → what is known of it."""

    def lines(self, event: Event) -> Iterator[Line]:
        """The words about the run's next fact."""
        about = event.call_id or event.delivery_id
        if event.kind in BEGINS:
            self._open[about] = [event]
        if event.kind not in PARTS:
            yield from lines_of([event])
        elif known := self._open.get(about):
            known.append(event)
            (line,) = lines_of(known)
            if event.kind == kinds.ATTEMPT_FAILED:
                yield replace(line.under[-1], text=f"{event.capability}: {line.under[-1].text}")
            elif event.kind not in kinds.ATTEMPT_OUTCOMES:
                del self._open[about]
                yield replace(line, at=event.at, mark=DONE, under=[])
