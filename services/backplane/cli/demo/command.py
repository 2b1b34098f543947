"""``backplane demo``: five agents in two processes make a page out of real documents; then what the run left is shown.

Order of work: start what does not run, follow the run's facts as they come, read what is left, tell it, end what was
started. Ctrl-C and SIGTERM end it at any point, and everything with it.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Final

import typer

from agents_sdk.core.words import attributed, ended
from backplane.cli import extras
from backplane.cli.output import CommandError, DataDir, ExitCode, JsonFlag, message, print_json

if TYPE_CHECKING:
    from backplane.cli.demo.board import Board
    from backplane.cli.demo.ending import Ending
    from backplane.cli.demo.follow import Follower
    from backplane.cli.demo.stage import Stage

TOPIC: Final = "asynchronous networking"
SILENCE_S: Final = 90.0
"""A run in which nothing happens for so long is stuck: no call of the demo may take that long."""


def demo(
    corpus: Annotated[
        Path | None,
        typer.Option(
            "--corpus",
            metavar="DIR",
            exists=True,
            file_okay=False,
            envvar="BACKPLANE_CORPUS",
            help="Write from this folder's Markdown, text and HTML. Default: from the descriptions of all Python"
            " distributions installed here.",
        ),
    ] = None,
    topic: Annotated[str, typer.Option("--topic", help="What the article is about.")] = TOPIC,
    as_json: JsonFlag = False,
    data_dir: DataDir = None,
) -> None:
    """See it all once: five agents in two processes research, write, review, illustrate and publish an article.

    Uses the platform of the data directory if one runs, else starts one for as long as it takes. The exit code is 1
    when the run did not complete, 6 when rows, cost, lineage or replay do not fit its facts.
    """
    began = _process_start()
    extras.require(("executor", "console"))
    folder = _checked(corpus, topic)
    if not as_json:
        message(f"Five agents in two processes write about “{topic}”, from {_described(folder)}.")
    from agents_sdk.settings import data_dir as settle_data_dir
    from backplane.cli.demo.board import board
    from backplane.cli.demo.report import document, print_report
    from backplane.cli.demo.stage import Stage
    from backplane.platform.layout import Layout

    with _terminated_is_interrupted(), Stage(Layout(settle_data_dir(data_dir)), folder) as stage:
        with board(as_json) as shown:
            ending, first_event_s = _performed(stage, shown, topic, began)
        # Shown before the platform is stopped: that takes seconds in which nobody has to wait.
        seconds = time.time() - began
        if as_json:
            print_json(document(ending, seconds=round(seconds, 3), first_event_seconds=round(first_event_s, 3)))
        else:
            print_report(ending)
            _part(ending, seconds, first_event_s, stage.own, f" --data-dir {data_dir}" if data_dir else "")
        sys.stdout.flush()
    _judge(ending)


def _judge(ending: Ending) -> None:
    if ending.run.status != "completed":
        raise typer.Exit(ExitCode.FAILURE)
    if ending.doubts:
        raise typer.Exit(ExitCode.NOT_VERIFIED)


def _performed(stage: Stage, shown: Board, topic: str, began: float) -> tuple[Ending, float]:
    """One run from start to end, and what it left; and the seconds to its first fact."""
    # Imported while the platform comes up: together they take a second.
    import clickhouse_connect  # noqa: F401
    import confluent_kafka.schema_registry  # noqa: F401

    from agents_sdk.blocking import Backplane
    from agents_sdk.scope import new_id
    from agents_sdk.wire.registry import connect_codec
    from backplane.cli.demo.ending import read_ending
    from backplane.cli.demo.follow import Follower

    stage.wait(shown.starting)
    settings = stage.settings()
    codec = connect_codec(settings)
    run_id = new_id()
    shown.said(f"{_standing(stage)} Ready after {time.time() - began:.1f} s.")
    with closing(Follower(settings, codec, run_id)) as follower, Backplane.connect(settings, "demo") as backplane:
        stage.start_of_run(backplane, topic, run_id)
        first_event_s = _watched(stage, shown, follower) - began
    shown.said(f"Run {run_id} has ended; reading what it left.")
    stage.wait_for_store()
    return read_ending(settings, codec, run_id, stage.check), first_event_s


def _watched(stage: Stage, shown: Board, follower: Follower) -> float:
    """Shows the run until it has ended; the time when its first fact came. Raises CommandError when nothing happens any
    more, or an agents process ends."""
    from agents_sdk.core import kinds

    first = 0.0
    heard = time.monotonic()
    for fact in follower.facts():
        if fact is None:
            stage.check()
            if time.monotonic() - heard > SILENCE_S:
                raise CommandError("failure", f"nothing has happened in the run for {SILENCE_S:.0f} s{stage.logs()}")
            continue
        first = first or time.time()
        heard = time.monotonic()
        shown.fact(fact)
        if fact.kind in kinds.RUN_ENDS:
            break
    return first


def _checked(corpus: Path | None, topic: str) -> str:
    """The folder, absolute; empty for none. Raises CommandError where it has no documents, or the topic no words."""
    if not topic.strip():
        raise CommandError("usage", "the topic is empty", f"for example --topic {TOPIC!r}")
    if corpus is None:
        return ""
    from backplane.builtin.corpus import CorpusError, open_corpus

    try:
        open_corpus(str(corpus.absolute()))
    except CorpusError as error:
        raise CommandError("usage", str(error)) from error
    return str(corpus.absolute())


def _described(folder: str) -> str:
    return f"the documents in {folder}" if folder else "the descriptions of the Python distributions installed here"


def _standing(stage: Stage) -> str:
    where = "A platform of its own" if stage.own else "The platform that runs"
    agents = ", ".join(f"{name} (pid {child.pid})" for name, child in stage.agents.items())
    return f"{where} in {stage.layout.data_dir}; agents in {agents}."


def _part(ending: Ending, seconds: float, first_event_s: float, own: bool, where: str) -> None:
    """Contradictions, if any; how long it took; what to look at next."""
    for doubt in ending.doubts:
        message(f"warning: {doubt}")
    message(
        f"\n{seconds:.1f} s, {first_event_s:.1f} s of them to the first event."
        f" {ending.facts} facts in Kafka, {ending.rows} rows in ClickHouse."
    )
    up = f"`backplane up --detach{where}`, then " if own else ""
    if ending.run.status != "completed":
        how = ended(ending.run.status, ending.run.reason)
        message(f"error: the run {attributed(how, ending.run.said, ending.run.said_by)}")
        message(f"hint: another --topic or --corpus may do better; {up}`backplane run last{where}` tells the run again")
        return
    message(f"Next: {up}`backplane lineage last page{where}`.")


def _process_start() -> float:
    import psutil

    return float(psutil.Process().create_time())


@contextmanager
def _terminated_is_interrupted() -> Iterator[None]:
    """SIGTERM ends the demo as Ctrl-C does: with all that it started."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
