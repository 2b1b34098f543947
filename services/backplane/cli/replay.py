"""``backplane replay``: decide a run again from its recorded commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from backplane.cli.output import DataDir, ExitCode, JsonFlag, print_json

if TYPE_CHECKING:
    from agents_sdk.core.replay import Difference, Verdict
    from agents_sdk.settings import Settings

TEXT_LIMIT: Final = 120
UUID_CHARS: Final = 36


def replay(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run's id, its first characters, or `last`.")],
    as_json: JsonFlag = False,
    data_dir: DataDir = None,
) -> None:
    """Decide a run's commands again and compare with the facts it left. The exit code is 6 when they differ."""
    from agents_sdk.settings import load_settings
    from agents_sdk.wire.registry import connect_codec
    from backplane.replay.recorded import replay_run

    settings = load_settings(**({"data_dir": data_dir} if data_dir else {}))
    run_id = _resolved(settings, run)
    verdict = replay_run(settings, connect_codec(settings), run_id)
    if as_json:
        print_json(as_document(run_id, verdict))
    else:
        print(f"run       {run_id}")
        for line in verdict_lines(verdict):
            print(line)
    if not verdict.identical:
        raise typer.Exit(ExitCode.NOT_VERIFIED)


def _resolved(settings: Settings, text: str) -> str:
    """A whole id needs no store; anything shorter is looked up there. Raises UnknownRun, Unreachable."""
    if len(text) == UUID_CHARS:
        return text
    from backplane.insight.answers import find_run
    from backplane.store.queries import connect_store

    return find_run(connect_store(settings), text)


def as_document(run_id: str, verdict: Verdict) -> dict[str, Any]:
    """The verdict as ``--json`` prints it."""
    import msgspec

    difference = verdict.difference
    return {
        "run_id": run_id,
        "identical": verdict.identical,
        "commands": verdict.commands,
        "facts": verdict.facts,
        "state_hash": verdict.recorded_state_hash,
        "replayed_state_hash": verdict.replayed_state_hash,
        "difference": msgspec.to_builtins(difference) if difference else None,
    }


def verdict_lines(verdict: Verdict) -> list[str]:
    """The verdict in lines for a person."""
    lines = [f"compared  {verdict.facts} facts, decided again from {verdict.commands} commands"]
    if verdict.recorded_state_hash == verdict.replayed_state_hash:
        lines.append(f"state     {verdict.recorded_state_hash} recorded and re-computed")
    else:
        lines += [
            f"state     {verdict.recorded_state_hash or 'none'} recorded",
            f"          {verdict.replayed_state_hash or 'none'} re-computed",
        ]
    lines.append("verdict   identical" if verdict.identical else "verdict   DIFFERENT")
    return lines + (_first_difference(verdict.difference) if verdict.difference else [])


def _first_difference(found: Difference) -> list[str]:
    where = f"first     at run_seq {found.run_seq}, command offset {found.command_offset}: "
    if found.recorded is None:
        return [f"{where}{found.decided} was decided again and is not recorded"]
    if found.decided is None:
        return [f"{where}{found.recorded} is recorded and was not decided again"]
    fields = [
        f"          {name}: {_short(was)} recorded, {_short(now)} decided again"
        for name, (was, now) in found.fields.items()
    ]
    return [f"{where}{found.recorded} differs", *fields]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= TEXT_LIMIT else f"{text[: TEXT_LIMIT - 1]}…"
