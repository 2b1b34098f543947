"""The sender and the run: fills the envelope of commands, and sends them.

A command is built, its id included, when the operation is called; only the waiting is done by ``await``. So the ids of
a handler's commands depend on the order of its calls and on nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

import uuid_utils

from agents_sdk.answers import checked
from agents_sdk.core import bounds, ids
from agents_sdk.core.commands import BODY_OF_KIND, Body, Command
from agents_sdk.core.facts import Reply
from agents_sdk.core.ids import CommandId, DeliveryId, RunId
from agents_sdk.core.kinds import CommandKind
from agents_sdk.errors import InvalidCommand, Oversize
from agents_sdk.local import LocalCalls
from agents_sdk.values import ELSEWHERE

if TYPE_CHECKING:
    from agents_sdk.artifacts import ArtifactStore

REQUEST_TIMEOUT_S: Final = 30.0
"""For a command that the ledger answers at once; a takeover after a crash takes 6 s at most."""


class Requests(Protocol):
    """The part of the transport that a scope needs."""

    client_id: str
    reply_partition: int
    max_value_bytes: int

    @property
    def artifacts(self) -> ArtifactStore:
        """Where files are kept."""

    def request(self, command: Command, timeout: float | None) -> Coroutine[Any, Any, Reply]:
        """Sends a command and returns its answer. Raises Unanswered, Unreachable."""

    def send(self, command: Command) -> None:
        """Sends a command whose answer nobody waits for."""


def new_id() -> str:
    """A new time-ordered id (UUIDv7)."""
    return str(uuid_utils.uuid7())


def _nowhere() -> str:
    """The place of a client's command, which has none."""
    return ""


def check_bounds(kind: CommandKind, body: Body) -> None:
    """Returns where each field of the body is within its bound. Raises InvalidCommand, or Oversize for a long text;
    ``fields`` has ``field``, ``limit`` and ``value`` (shortened) or ``size``."""
    try:
        broken = bounds.body_excess(BODY_OF_KIND[kind], body)
    except TypeError:
        return  # a value of another type: encoding it names the field
    if broken is None:
        return
    if broken.prose:
        raise Oversize(
            broken.message, hint=ELSEWHERE, field=broken.field, size=broken.size, limit=broken.limit, value=broken.shown
        )
    raise InvalidCommand(broken.message, field=broken.field, limit=broken.limit, value=broken.shown)


class Scope:
    """The sender of commands about one run."""

    __slots__ = (
        *("agent", "causation_id", "correlation_id", "delivery_id", "ids_key", "local", "next_id", "requests"),
        *("run_id", "step"),
    )

    def __init__(
        self,
        requests: Requests,
        run_id: str,
        agent: str,
        *,
        correlation_id: str,
        causation_id: str = "",
        delivery_id: str = "",
        next_id: Callable[[], str] = new_id,
        ids_key: bytes = b"",
    ) -> None:
        self.requests = requests
        self.run_id = run_id
        self.agent = agent
        self.correlation_id = correlation_id
        self.causation_id = causation_id
        self.delivery_id = delivery_id
        self.next_id = next_id
        self.ids_key = ids_key
        """The roots of ids that follow from others; see ``id_of``."""
        self.local: LocalCalls | None = None
        """Makes calls in this process; None: executors make all."""
        self.step: Callable[[], str] = _nowhere
        """The place, among the commands of a handler, of the id that ``next_id`` gave last."""

    def about(self, run_id: str) -> Self:
        """The same sender, in the same order of calls, about another run."""
        return type(self)(
            self.requests,
            run_id,
            self.agent,
            correlation_id=self.correlation_id,
            causation_id=self.causation_id,
            delivery_id=self.delivery_id,
            next_id=self.next_id,
            ids_key=self.ids_key,
        )

    def id_of(self, parent: str, name: str) -> str:
        """The id of a command that follows from another id: the same each time, and known to nobody else before."""
        return ids.keyed(self.ids_key, parent, name)

    @property
    def limit(self) -> int:
        """Bytes a value may have."""
        return self.requests.max_value_bytes

    def command(self, kind: CommandKind, body: Body, command_id: str = "") -> Command:
        """A command of this sender, with the next id unless one is given. Raises InvalidCommand, Oversize for a field
        that the ledger would refuse."""
        check_bounds(kind, body)
        return Command(
            command_id=CommandId(command_id or self.next_id()),
            step="" if command_id else self.step(),
            kind=kind,
            run_id=RunId(self.run_id),
            agent=self.agent,
            correlation_id=self.correlation_id,
            causation_id=self.causation_id,
            delivery_id=DeliveryId(self.delivery_id),
            reply_to=self.requests.client_id,
            reply_partition=self.requests.reply_partition,
            **{BODY_OF_KIND[kind]: body},  # type: ignore[arg-type]  # BODY_OF_KIND names the field of this body
        )

    def ask(self, kind: CommandKind, body: Body) -> Coroutine[Any, Any, Reply]:
        """Builds a command now; awaited, sends it and returns the answer. Raises Refused (a subclass by its code),
        Unanswered, Unreachable."""
        return self.sent(self.command(kind, body))

    async def sent(self, command: Command, timeout: float | None = REQUEST_TIMEOUT_S) -> Reply:
        """Sends a command that is built already."""
        return checked(await self.requests.request(command, timeout))
