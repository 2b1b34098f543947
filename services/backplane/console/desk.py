"""The sources of every page: the store, the log, the registry and the templates, each reached when first asked for."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from fastapi import Request
from fastapi.responses import HTMLResponse

from agents_sdk.artifacts import ArtifactStore
from backplane.console.approvals import Approvals, WaitingAgents
from backplane.console.previews import Files
from backplane.console.render import environment
from backplane.console.rights import SECTIONS_OF_ALL
from backplane.console.timeline import Axis, axis
from backplane.insight.answers import MAX_EVENTS, Event, RunRow, find_run, progress, runs, timeline
from backplane.insight.wording import Line, lines_of
from backplane.metrics.exposition import Metrics
from backplane.store.queries import connect_store

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from agents_sdk.core.roster import IdentityStatus
    from agents_sdk.settings import Settings
    from agents_sdk.wire.codec import Codec
    from backplane.access.principals import Principal
    from backplane.dlq.letters import Letter

T = TypeVar("T")

KEPT_EVENTS: Final = 60_000
"""Of the runs that were looked at last; about 60 MB with all that hangs on them."""
NEWEST_LETTERS: Final = 200
"""Of each partition of each dead-letter topic: 10,000 letters in 150 MB at most, however many there are."""
LETTERS_S: Final = 5.0
"""How old the list of dead letters may be: reading them all takes a second."""
NARROW_DESKS: Final = 16
"""Sets of workflows whose viewers are served from memory; the one used longest ago is made again."""
PATIENCE_S: Final = 1.0
"""How long a page waits for them."""
SECTIONS: Final = (
    ("/", "Overview", "o"),
    ("/runs", "Runs", "r"),
    ("/agents", "Agents", "a"),
    ("/state", "State", "s"),
    ("/lineage", "Lineage", "l"),
    ("/cost", "Cost", "c"),
    ("/capabilities", "Capabilities", "p"),
    ("/dead-letters", "Dead letters", "d"),
    ("/topics", "Topics", "t"),
    ("/schemas", "Schemas", "m"),
    ("/sql", "SQL", "q"),
)
"""Address, name, and the key that leads there after g."""


@dataclass(frozen=True)
class Story:
    """The facts of a run in their order, and their wording once that is asked for."""

    events: list[Event]

    @cached_property
    def lines(self) -> list[Line]:
        """Its timeline."""
        return list(lines_of(self.events))

    @cached_property
    def axis(self) -> Axis:
        """Where its lines lie in time."""
        return axis(self.lines)

    @property
    def whole(self) -> bool:
        """No fact is missing before the last one."""
        return bool(self.events) and self.events[-1].run_seq == len(self.events)


class Letters(NamedTuple):
    """The dead letters, or why they cannot be listed."""

    found: list[Letter]
    problem: str = ""
    older: int = 0
    """Records that were not looked at, since they are older."""


class ConsoleContext:
    """One a process, and one for each set of workflows that viewers are restricted to. Any thread may call it."""

    def __init__(self, settings: Settings, workflows: tuple[str, ...] | None = None) -> None:
        """``workflows``: the store shows the runs of these alone; None: all."""
        self.settings = settings
        self.workflows = workflows
        self.metrics = Metrics("console")
        self.streams: set[int] = set()
        """The live streams that are open."""
        self._lock = threading.RLock()
        self._client: Client | None = None
        self._codec: Codec | None = None
        self._stories: OrderedDict[str, Story] = OrderedDict()
        self._letters: tuple[float, Letters] = (float("-inf"), Letters([]))
        self._kept: dict[str, tuple[float, Any]] = {}
        self._silent: dict[str, float] = {}
        """Parts that did not answer when they were asked last → when that began, seconds UTC."""
        self._reader = ThreadPoolExecutor(1, "letters")
        self._reading: Future[Letters] | None = None
        self.approvals = Approvals(self._standings)

    @property
    def store(self) -> Client:
        """The store's client; asked for again for as long as there was none. Raises Unreachable."""
        with self._lock:
            if self._client is None:
                self._client = connect_store(self.settings, workflows=self.workflows)
            return self._client

    @property
    def codec(self) -> Codec:
        """Raises Unreachable, SchemasNotApplied."""
        from agents_sdk.wire.registry import connect_codec

        with self._lock:
            if self._codec is None:
                self._codec = connect_codec(self.settings)
            return self._codec

    @cached_property
    def files(self) -> Files:
        """Files of agents."""
        return Files(self.settings.data_dir, ArtifactStore(self.settings.data_dir, self.settings.artifacts.url))

    @cached_property
    def admin(self) -> Any:
        """Kafka's admin client."""
        from agents_sdk.wire.topics_admin import connect

        return connect(self.settings)

    def run(self, name: str) -> RunRow:
        """The run of this id, its first characters, or ``last``. Raises UnknownRun."""
        return (runs(self.store, 1, name) or runs(self.store, 1, find_run(self.store, name)))[0]

    def events(self, run: str) -> list[Event]:
        """All facts of a run in their order."""
        return self.story(run).events

    def story(self, run: str) -> Story:
        """The run as the store has it now; of one that was looked at before only what came since is read."""
        facts = min(progress(self.store, run).facts, MAX_EVENTS)
        with self._lock:
            known = self._stories.get(run, Story([]))
            if run in self._stories and len(known.events) == facts:
                self._stories.move_to_end(run)
                return known
        # what came late may belong before the last fact: then all are read again
        known = known if known.whole else Story([])
        after = len(known.events)
        found = Story(known.events + timeline(self.store, run, after, MAX_EVENTS - after))
        with self._lock:
            self._stories[run] = found
            self._stories.move_to_end(run)
            while len(self._stories) > 1 and sum(len(kept.events) for kept in self._stories.values()) > KEPT_EVENTS:
                self._stories.popitem(last=False)
        return found

    def kept(self, name: str, seconds: float, make: Callable[[], T]) -> T:
        """The product of ``make``, at most so many seconds old."""
        made_at, value = self._kept.get(name, (float("-inf"), None))
        if time.monotonic() - made_at >= seconds:
            value = make()
            self._kept[name] = (time.monotonic(), value)
        return value  # type: ignore[no-any-return]  # put there under this name

    def silent(self, part: str, *, answers: bool) -> str:
        """Since when a part has not answered, as people write it; empty: it does."""
        with self._lock:
            if answers:
                self._silent.pop(part, None)
                return ""
            since = self._silent.setdefault(part, time.time())
        return time.strftime("%H:%M:%S UTC", time.gmtime(since))

    def forget(self, name: str) -> None:
        """The value under this name is made again at the next request."""
        self._kept.pop(name, None)

    def letters(self, *, fresh: bool = False) -> Letters:
        """The open dead letters, some seconds old; ``fresh``: read now. Kafka is waited for only so long: a page that
        shows them besides other things comes without them."""
        if self.workflows is not None:
            return Letters([], "dead letters are shown to those who see all runs")
        with self._lock:
            read_at, kept = self._letters
            if not fresh and time.monotonic() - read_at < LETTERS_S:
                return kept
            # what was being read when a redrive ended is no answer to what there is now
            if fresh or self._reading is None or self._reading.done():
                self._reading = self._reader.submit(self._read_letters)
            reading = self._reading
        try:
            found = reading.result(None if fresh else PATIENCE_S)
        except TimeoutError:
            since = self.silent("Kafka", answers=False)
            return Letters(kept.found, kept.problem or f"Kafka has not answered since {since}")
        self.silent("Kafka", answers=True)
        return found

    def _read_letters(self) -> Letters:
        from agents_sdk.errors import BackplaneError
        from backplane.dlq.log import read_letters

        try:
            read = read_letters(self.settings, self.codec, NEWEST_LETTERS)
            found = Letters(read.letters, older=read.older)
        except BackplaneError as error:
            found = Letters([], error.message)
        with self._lock:
            self._letters = (time.monotonic(), found)
        return found

    def asking(self) -> WaitingAgents:
        """Which agents wait for an approval; nothing for those who see some runs only."""
        return self.approvals.now() if self.workflows is None else WaitingAgents([])

    def _standings(self) -> list[IdentityStatus]:
        from backplane.roles.office import Office

        return Office(self.settings, self.codec).standings(refused=False)

    def page(self, request: Request, template: str, code: int = 200, /, **context: Any) -> HTMLResponse:
        """A page from its template."""
        path = request.url.path
        principal: Principal = request.state.principal
        section = next((where for where, _, _ in SECTIONS if where != "/" and path.startswith(where)), path)
        common = {
            "csrf": request.state.csrf,
            "theme": request.state.theme,
            "sections": [one for one in SECTIONS if not (principal.restricted and one[0] in SECTIONS_OF_ALL)],
            "principal": principal,
            "section": section,
            "here": str(request.url.path) + (f"?{request.url.query}" if request.url.query else ""),
            "search": "",
        }
        if principal.restricted and context.get("stream") and "run" not in context["stream"]:
            context["stream"] = None  # a stream of all runs is not for it
        html = environment().get_template(template).render({**common, **context})
        return HTMLResponse(html, code, headers={"Cache-Control": "no-store"})


class ConsoleContexts:
    """The desk of everybody who sees all runs, and those of viewers who see some."""

    def __init__(self, settings: Settings) -> None:
        self.all = ConsoleContext(settings)
        self._lock = threading.Lock()
        self._narrow: OrderedDict[tuple[str, ...], ConsoleContext] = OrderedDict()

    def of(self, principal: Principal) -> ConsoleContext:
        """The desk that shows what the principal may see, and keeps nothing else."""
        if principal.workflows is None:
            return self.all
        wanted = tuple(sorted(set(principal.workflows)))
        with self._lock:
            found = self._narrow.pop(wanted, None) or ConsoleContext(self.all.settings, wanted)
            self._narrow[wanted] = found
            while len(self._narrow) > NARROW_DESKS:
                self._narrow.popitem(last=False)
            return found


def desk_of(request: Request) -> ConsoleContext:
    """The runs that the sender of the request may see."""
    desks: ConsoleContexts = request.app.state.desks
    return desks.of(request.state.principal)
