"""``backplane search``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backplane.cli.calling import CallOptions, RunOption, TimeoutOption, given, perform
from backplane.cli.output import Budget, DataDir, JsonFlag, message, print_json, print_rows

EXCERPT_CHARS = 4_000
LINE_CHARS = 160


def search(
    query: Annotated[list[str], typer.Argument(help="What to look for, in words.", metavar="QUERY…")],
    results: Annotated[int, typer.Option("--results", "-n", min=1, max=50, help="How many, at most.")] = 10,
    documents: Annotated[
        Path | None, typer.Option("--documents", help="A folder of Markdown, text or HTML, instead of the web.")
    ] = None,
    run: RunOption = None,
    timeout: TimeoutOption = None,
    budget: Budget = None,
    data_dir: DataDir = None,
    as_json: JsonFlag = False,
) -> None:
    """Find documents about a question: title, address and the passage that fits best, the best first."""
    capability = "document_search" if documents else "web_search"
    folder = str(documents.absolute()) if documents else None
    params = given(query=" ".join(query), results=results, folder=folder, excerpt_chars=EXCERPT_CHARS if as_json else 0)
    called = perform(capability, params, CallOptions(run=run, timeout=timeout, budget=budget, data_dir=data_dir))
    if as_json:
        print_json(called.document())
        return
    hits = called.result.result["hits"]
    rows = [(hit["title"], hit["url"], f"{hit['score']:.2f}", _line(hit["snippet"])) for hit in hits]
    print_rows(("title", "url", "score", "snippet"), rows)
    message(called.summary())


def _line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LINE_CHARS else line[: LINE_CHARS - 1] + "…"
