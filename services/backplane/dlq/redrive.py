"""Puts dead letters back: deliveries and calls by the ledger, any other record by writing it again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final

import msgspec

from agents_sdk.errors import CallFailed, Refused, RunFinished, UnknownRun
from backplane.dlq.letters import Letter

if TYPE_CHECKING:
    from agents_sdk.blocking import Backplane
    from agents_sdk.operations import CallResult
    from agents_sdk.settings import Settings


class Outcome(msgspec.Struct, frozen=True):
    """The result for one letter."""

    letter: Letter
    done: str
    """redriven, continued or restarted (parked deliveries), discarded, would be (a dry run), or refused."""
    why: str = ""


WORKFLOW: Final = "redrive"
"""Of the runs in which failed calls of ended runs are repeated."""


def paced(rate: float) -> Callable[[], None]:
    """Returns when the next turn has come, ``rate`` of them a second; what takes longer anyway is not held up."""
    due = time.monotonic()

    def wait() -> None:
        nonlocal due
        now = time.monotonic()
        if due > now:
            time.sleep(due - now)
        due = max(due, now) + 1 / rate

    return wait


class Manner(msgspec.Struct, frozen=True):
    """How parked deliveries go on."""

    restart: bool = False
    """From nothing, in place of going on with what is recorded."""
    repeat_effects: bool = False
    """Also where that repeats effects."""


GO_ON: Final = Manner()


def redrive(
    backplane: Backplane,
    settings: Settings,
    chosen: Iterable[Letter],
    *,
    dry_run: bool,
    pace: Callable[[], object],
    manner: Manner = GO_ON,
) -> Iterator[Outcome]:
    """The result for each letter. A refusal, the end of its run for one, leaves the letter as it is. ``pace`` is called
    before each one that is put back, and returns when its turn has come. ``manner`` is for parked deliveries.

    Raises:
        Unanswered, Unreachable.
    """
    from backplane.dlq.log import write_again

    for letter in chosen:
        why = letter.not_redrivable()
        if manner.restart and not letter.parked:
            why = "it is not parked; only a parked delivery is restarted"
        if not why and not dry_run:
            pace()
        if why:
            yield Outcome(letter, "refused", why)
        elif dry_run:
            yield Outcome(letter, "would be")
        elif letter.delivery_id:
            yield _by_the_ledger(backplane, letter, manner)
        elif letter.call_id:
            yield _call(backplane, settings, letter)
        else:
            write_again(settings, letter)
            yield Outcome(letter, "redriven")


def discard(backplane: Backplane, settings: Settings, chosen: Iterable[Letter], reason: str) -> Iterator[Outcome]:
    """Gives letters up, and fails parked deliveries; that is a fact, with the reason.

    Raises:
        Unanswered, Unreachable.
    """
    from backplane.dlq.log import mark

    for letter in chosen:
        try:
            if letter.call_id:
                backplane.run(letter.run).discard_call(letter.call_id, reason, capability=letter.name)
            else:
                about = letter.delivery_id or letter.id
                backplane.run(letter.run or letter.id).discard(about, reason, agent=letter.agent, name=letter.name)
            if not letter.call_id and not letter.delivery_id:
                mark(settings, letter)
        except Refused as refused:
            yield Outcome(letter, "refused", refused.message)
        else:
            yield Outcome(letter, "failed" if letter.parked else "discarded")


def _by_the_ledger(backplane: Backplane, letter: Letter, manner: Manner) -> Outcome:
    try:
        backplane.run(letter.run).redrive(
            letter.delivery_id, restart=manner.restart, repeat_effects=manner.repeat_effects
        )
    except Refused as refused:
        return Outcome(letter, "refused", refused.message)
    if letter.parked:
        return Outcome(letter, "restarted" if manner.restart else "continued")
    return Outcome(letter, "redriven")


def _call(backplane: Backplane, settings: Settings, letter: Letter) -> Outcome:
    """The repeated call, in its run; in a run of its own where that has ended."""
    try:
        result = backplane.run(letter.run).redrive_call(letter.call_id)
    except (RunFinished, UnknownRun):
        return _call_elsewhere(backplane, settings, letter)
    except CallFailed as failed:
        return Outcome(letter, "redriven", f"and failed again: {failed.message}")
    except Refused as refused:
        return Outcome(letter, "refused", refused.message)
    return Outcome(letter, "redriven", _result_text(result))


def _call_elsewhere(backplane: Backplane, settings: Settings, letter: Letter) -> Outcome:
    """The letter is used up as soon as the call is made: if it fails again, that is a letter of its own."""
    from backplane.dlq.log import mark

    run = backplane.start_run(WORKFLOW, letter.run, complete_when="explicit")
    try:
        result = run.repeat_call(letter.record)
        run.complete(result.result)
        text = _result_text(result)
    except CallFailed as failed:
        run.fail(failed.message)
        text = f"and failed again: {failed.message}"
    except Refused as refused:
        run.cancel(refused.message)
        return Outcome(letter, "refused", refused.message)
    mark(settings, letter)
    return Outcome(letter, "redriven", f"in run {run.id}, since its own has ended; {text}")


def _result_text(result: CallResult) -> str:
    return f"{'degraded ' if result.degraded else ''}result by {result.provider}"
