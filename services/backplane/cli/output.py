"""How commands speak: data on stdout, messages on stderr, a table for people and JSON for programs; and exit codes."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Iterable, Sequence
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from backplane.cli import extras
from backplane.cli.shown import escaped, escaped_json

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
"""``as_json: JsonFlag = False`` gives a command the flag that all have."""

DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="The platform's data directory. [env: BACKPLANE_DATA_DIR]")
]
"""``data_dir: DataDir = None``; give it to ``agents_sdk.settings.data_dir``."""


def _amount(text: str | None) -> str | None:
    from agents_sdk.core.money import parse

    try:
        if text is not None:
            parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    return text


Budget = Annotated[
    str | None,
    typer.Option("--budget", help='What it may cost at most, such as "0.40 USD".', metavar="AMOUNT", callback=_amount),
]
"""``budget: Budget = None``, for commands that spend."""


class ExitCode(IntEnum):
    """The exit code for a script."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    NOT_FOUND = 3
    AUTH = 4
    UNREACHABLE = 5
    """A server is not there, or did not answer in time."""
    NOT_VERIFIED = 6
    """It ran, but its effect was not seen."""
    REFUSED = 7
    """By the ledger, a budget, a policy or a circuit breaker."""
    INTERRUPTED = 130


EXIT_CODES: Final[dict[str, ExitCode]] = {
    "unknown_run": ExitCode.NOT_FOUND,
    "unknown_agent": ExitCode.NOT_FOUND,
    "unknown_call": ExitCode.NOT_FOUND,
    "unknown_part": ExitCode.NOT_FOUND,
    "not_found": ExitCode.NOT_FOUND,
    "unknown_artifact": ExitCode.NOT_FOUND,
    "auth": ExitCode.AUTH,
    "unreachable": ExitCode.UNREACHABLE,
    "unanswered": ExitCode.UNREACHABLE,
    "not_configured": ExitCode.UNREACHABLE,
    "not_running": ExitCode.UNREACHABLE,
    "artifact_missing": ExitCode.UNREACHABLE,
    "part_failed": ExitCode.UNREACHABLE,
    "not_verified": ExitCode.NOT_VERIFIED,
    "budget_exceeded": ExitCode.REFUSED,
    "invalid_settings": ExitCode.USAGE,
    "usage": ExitCode.USAGE,
    "interrupted": ExitCode.INTERRUPTED,
}
"""An error's ``code`` → what the process ends with. Any other refusal of the ledger is REFUSED, the rest a FAILURE."""


class CommandError(Exception):
    """An error of the command line itself, for which no typed error exists: ``code``, message, next step. ``said``: the
    words of somebody else about it, and who said them."""

    def __init__(self, code: str, message: str, hint: str = "", *, said: str = "", said_by: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.said = said
        self.said_by = said_by


def interactive() -> bool:
    """Whether a person reads stdout."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def message(text: str) -> None:
    """Say something that is not data, on stderr; data in it is shown as it is."""
    print(escaped(text, keep="\n\t"), file=sys.stderr, flush=True)


def print_json(value: Any) -> None:
    """One JSON document; indented for a person."""
    print(escaped_json(json.dumps(value, indent=2 if interactive() else None, ensure_ascii=False, default=str)))


def print_rows(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], *, as_json: bool = False, narrow: Sequence[str] = ()
) -> None:
    """Rows: as a list of objects with ``as_json``, as a table on a terminal, else separated by tabs with a header.

    ``narrow``: the columns that a terminal shows which has no room for all. Ids are never cut or broken.
    """
    if as_json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
    elif interactive():
        from backplane.cli.table import print_table

        print_table(columns, [[_text(cell) for cell in row] for row in rows], narrow)
    else:
        print("\t".join(map(escaped, columns)))
        for row in rows:
            print("\t".join(escaped(_text(cell).replace("\t", " ").replace("\n", " ")) for cell in row))


def _text(cell: Any) -> str:
    return "" if cell is None else str(cell)


def described(error: BaseException) -> dict[str, Any]:
    """``error`` as ``{code, message, hint}``, whatever its type; with ``said`` and ``said_by`` where somebody else said
    something about it."""
    if isinstance(error, typer.TyperException):
        usage = error.exit_code == ExitCode.USAGE
        context = getattr(error, "ctx", None)
        hint = f"{context.command_path} --help" if usage and context else ""
        return {"code": "usage" if usage else "failure", "message": error.format_message(), "hint": hint}
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return {"code": "interrupted", "message": "interrupted", "hint": ""}
    code = getattr(error, "code", None)
    if isinstance(code, str):
        found = {"code": code, "message": getattr(error, "message", str(error)), "hint": getattr(error, "hint", "")}
        said = getattr(error, "said", "")
        return found | ({"said": said, "said_by": getattr(error, "said_by", "")} if said else {})
    lacking = extras.missing(error)
    if lacking:
        return {"code": "not_installed", "message": lacking[0], "hint": lacking[1]}
    wrong = _wrong_setting(error)
    if wrong:
        hint = "`backplane config explain` shows where each setting comes from"
        return {"code": "invalid_settings", "message": wrong, "hint": hint}
    text = f"{type(error).__name__}: {error}"
    return {"code": "internal", "message": text, "hint": "run it again with --debug to see where"}


def _wrong_setting(error: BaseException) -> str:
    """The words of pydantic or librdkafka about a setting that they refuse; empty: it is another error. Found by name,
    since help must import neither.
    """
    if type(error).__name__ == "ValidationError" and type(error).__module__.startswith("pydantic"):
        return str(error)
    if type(error).__name__ == "KafkaException" and error.args[0].name() == "_INVALID_ARG":
        return f"librdkafka: {error.args[0].str()}"
    return ""


def report(error: BaseException, *, as_json: bool = False, debug: bool = False) -> int:
    """Tell ``error`` on stderr and return the exit code that goes with it."""
    if isinstance(error, typer.Exit):
        return error.exit_code
    about = described(error)
    code = EXIT_CODES.get(about["code"], _kind(error))
    if not about["message"]:
        return int(code)  # a group called without a command: its help was the answer
    if debug and code is not ExitCode.INTERRUPTED:
        traceback.print_exception(error, file=sys.stderr)
    if as_json:
        message(escaped_json(json.dumps(about, ensure_ascii=False)))
    elif code is not ExitCode.INTERRUPTED:
        message(f"error: {_with_words(about)}")
        if about["hint"]:
            message(f"hint: {about['hint']}")
    return int(code)


def _with_words(about: dict[str, Any]) -> str:
    if not about.get("said"):
        return str(about["message"])
    from agents_sdk.core.words import attributed

    return attributed(about["message"], about["said"], about["said_by"])


def _kind(error: BaseException) -> ExitCode:
    from agents_sdk.errors import Refused  # here, not above: help must not import the SDK

    return ExitCode.REFUSED if isinstance(error, Refused) else ExitCode.FAILURE


def silence_stdout() -> None:
    """After a broken pipe: nothing more may be written, not even what Python flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
