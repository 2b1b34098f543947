"""The end of the demo in words: page, timeline, cost, lineage, replay. On stdout; rich decides about colour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from rich.table import Table

from agents_sdk.core import kinds
from agents_sdk.core.money import dollars
from backplane.cli.data_text import Text
from backplane.cli.output import interactive
from backplane.cli.paint import paint_run, show
from backplane.insight.wording import counted, duration

if TYPE_CHECKING:
    from backplane.cli.demo.ending import Ending
    from backplane.cli.demo.path import Path

QUIET: Final = frozenset({kinds.STATE_READ, kinds.DEPENDENCY_DECLARED})
"""Left out of the timeline here, for brevity; `backplane run` has them."""
NANO_PLACES: Final = 9
EXCERPT: Final = 150


def print_report(ending: Ending) -> None:
    """All of it."""
    colour = interactive()
    _page(ending, colour)
    _heading("Timeline", colour)
    shown = [event for event in ending.events if event.kind not in QUIET]
    paint_run(ending.run, shown, colour)
    _heading("Cost", colour, "asked of ClickHouse, counted on attempts")
    show(_costs(ending), colour)
    if ending.path is not None:
        _heading("Lineage", colour, f"where paragraph {ending.path.paragraph} comes from")
        _path(ending.path, colour)
    _heading("Replay", colour, "the recorded commands decided again")
    _verdict(ending, colour)


def _heading(title: str, colour: bool, about: str = "") -> None:
    text = Text(f"\n{title}", "bold")
    if about:
        text.append(f"  {about}", "not bold dim")
    show(text, colour)


def _page(ending: Ending, colour: bool) -> None:
    _heading("Page", colour)
    if not ending.page:
        show(Text("none was published", "red"), colour)
        return
    cited = {source for paragraph in ending.draft["paragraphs"] for source in paragraph["sources"]}
    title, paragraphs = ending.draft["title"], counted(len(ending.draft["paragraphs"]), "paragraph")
    show(Text.assemble((str(ending.page["url"]), "cyan underline" if colour else "")), colour)
    about = f"“{title}”: {paragraphs} from {counted(len(cited), 'source')}, hero image, draft {ending.drafts}"
    show(Text(about, "dim"), colour)


def _costs(ending: Ending) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("agent", "capability", "provider"):
        table.add_column(name)
    for name in ("attempts", "failed", "tokens", "took", "cost"):
        table.add_column(name, justify="right")
    for bill in ending.bills:
        tokens = bill.input_tokens + bill.output_tokens
        table.add_row(
            Text(bill.agent),
            Text(bill.capability),
            Text(bill.provider),
            str(bill.attempts),
            Text(str(bill.failed), "yellow") if bill.failed else "",
            str(tokens) if tokens else "",
            duration(bill.latency_us),
            "no price" if bill.unpriced == bill.attempts else _aligned(bill.cost_nano_usd),
        )
    attempts = sum(bill.attempts for bill in ending.bills)
    table.add_row(Text("total", "bold"), "", "", str(attempts), "", "", "", Text(_aligned(ending.cost), "bold"))
    return table


def _aligned(nano: int) -> str:
    """All digits, so that the points stand below each other."""
    whole, _, places = dollars(nano).partition(".")
    return f"{whole}.{places.ljust(NANO_PLACES, '0')}"


def _path(path: Path, colour: bool) -> None:
    text = path.text if len(path.text) <= EXCERPT else f"{path.text[: EXCERPT - 1].rsplit(' ', 1)[0]} …"
    show(Text(f"“{text}”", "italic"), colour)
    table = Table.grid(padding=(0, 2, 0, 0))
    for hop in path.hops:
        table.add_row(Text("↑", "dim"), Text(hop.agent, "cyan"), Text(hop.what), Text(hop.at, "dim"))
    show(table, colour)


def _verdict(ending: Ending, colour: bool) -> None:
    verdict = ending.verdict
    if verdict.identical:
        about = (
            f"{verdict.facts} facts from {verdict.commands} commands, state hash {verdict.recorded_state_hash[:16]}…"
        )
        show(Text.assemble(("identical", "bold green"), f": {about}"), colour)
        return
    from backplane.cli.replay import verdict_lines

    show(Text("\n".join(verdict_lines(verdict)), "red"), colour)


def document(ending: Ending, **more: Any) -> dict[str, Any]:
    """The end for programs."""
    return {
        "run_id": ending.run.run_id,
        "status": ending.run.status,
        **{name: getattr(ending.run, name) for name in ("code", "reason", "said", "said_by")},
        "page": ending.page.get("path", ""),
        "facts": ending.facts,
        "rows": ending.rows,
        "cost_nano_usd": ending.cost,
        "fallbacks": ending.fallbacks,
        "replay": {"identical": ending.verdict.identical, "state_hash": ending.verdict.recorded_state_hash},
        "drafts": ending.drafts,
        "lineage": _lineage(ending.path),
        "doubts": ending.doubts,
        **more,
    }


def _lineage(path: Path | None) -> dict[str, Any] | None:
    if path is None:
        return None
    hops: Sequence[dict[str, str]] = [{"agent": hop.agent, "what": hop.what, "at": hop.at} for hop in path.hops]
    return {"paragraph": path.paragraph, "text": path.text, "source": path.source, "hops": hops}
