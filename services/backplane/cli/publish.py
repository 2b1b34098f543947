"""``backplane publish``: a Markdown file as a web page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from backplane.cli.calling import CallOptions, RunOption, TimeoutOption, given, perform
from backplane.cli.output import Budget, CommandError, DataDir, JsonFlag, message, print_json

HEADING: Final = re.compile(r"\A\s*# +(.+?) *#*\n", re.MULTILINE)


def publish(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Markdown; - reads stdin.")],
    title: Annotated[str | None, typer.Option("--title", help="Else the file's first heading.")] = None,
    summary: Annotated[str | None, typer.Option("--summary", help="A sentence below the title.")] = None,
    hero: Annotated[Path | None, typer.Option("--hero", help="An image to be shown on top.")] = None,
    slug: Annotated[
        str | None, typer.Option("--slug", help="The page's name in its address; published again, it is replaced.")
    ] = None,
    run: RunOption = None,
    timeout: TimeoutOption = None,
    budget: Budget = None,
    data_dir: DataDir = None,
    as_json: JsonFlag = False,
) -> None:
    """Publish a Markdown file, and print the address of its page."""
    how = CallOptions(run=run, timeout=timeout, budget=budget, data_dir=data_dir)
    heading, markdown = parted(_read(file))
    title = title or heading
    if not title:
        raise CommandError("usage", f"{str(file)!r} has no title", "begin it with '# Title', or give --title")
    picture: dict[str, Any] | None = {"artifact": how.upload(hero), "alt": title} if hero else None
    params = given(title=title, markdown=markdown, summary=summary, hero=picture, slug=slug)
    called = perform("content_publish", params, how)
    if as_json:
        print_json(called.document())
    else:
        print(called.result.result["url"])
        message(called.summary())


def parted(text: str) -> tuple[str, str]:
    """The text's first heading, if it begins with one, and the rest."""
    found = HEADING.match(text if text.endswith("\n") else f"{text}\n")
    return (found.group(1), text[found.end() :]) if found else ("", text)


def _read(file: Path) -> str:
    import sys

    try:
        return sys.stdin.read() if file == Path("-") else file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError("usage", f"{str(file)!r} cannot be read: {error}", "give a text file") from error
