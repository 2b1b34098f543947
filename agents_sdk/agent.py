"""Declares an agent: its name, what it may touch, and the handlers of its messages. Pure registration, no I/O.

Wrong use raises ValueError or TypeError at the line that does it, not when the agent runs.
"""

# long because: one declaration with all that an agent may say of itself

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypeVar, get_args

from agents_sdk.core.commands import RegistrationBody
from agents_sdk.core.ledger.retry import most_specific
from agents_sdk.retry import Retry
from agents_sdk.values import milliseconds, nano_usd, time_limit

if TYPE_CHECKING:
    from agents_sdk.context import Context
    from agents_sdk.event import Event

Handler: TypeAlias = "Callable[[Context, Event], Awaitable[Any]]"
H = TypeVar("H", bound="Handler")

OnDivergence: TypeAlias = Literal["park", "restart", "fail"]

NAME: Final = re.compile(r"[a-z0-9_]+([.-][a-z0-9_]+)*", re.ASCII)
"""Names of agents and of messages; the ledger's rule as well."""
NAME_LIMIT: Final = 200
"""Characters: a name becomes part of a topic's name, which has at most 249."""
RESERVED: Final = "bp."
"""Names of the platform's own parts begin so."""
UNRESTRICTED: Final = ("*",)
NOTHING: Final = "-"
"""Names no workflow: in a registration an empty list means all."""


class Agent:
    """An agent as its author declares it.

    Raises:
        ValueError: a name or a limit is not allowed; the text says what is.
        TypeError: a string where a list of strings belongs.
    """

    def __init__(
        self,
        name: str,
        *,
        reads: Iterable[str] | None = None,
        writes: Iterable[str] | None = None,
        capabilities: Iterable[str] | None = None,
        publishes: Iterable[str] | None = None,
        workflows: Iterable[str] | None = None,
        starts: Iterable[str] | None = None,
        controls: Iterable[str] | None = None,
        max_deliveries: int = 3,
        retry: Retry | None = None,
        handler_timeout_seconds: float | None = None,
        supervisor: str = "",
        budget: str | None = None,
        call_budgets: Mapping[str, str] | None = None,
        on_divergence: OnDivergence = "park",
    ) -> None:
        """``reads`` and ``writes`` are globs of state keys, ``capabilities`` of capabilities, ``publishes`` of message
        names. ``workflows`` are globs of the workflows it takes part in, ``starts`` of those it starts runs of,
        ``controls`` of those it ends runs of. None leaves it unrestricted (``controls``: those it takes part in), an
        empty list allows nothing. It may do what of all this was granted. A message whose handler fails is delivered
        ``max_deliveries`` times at most, after the waits of ``retry``. None: 1 s, 2 s, 4 s, up to a minute; later
        messages wait. A handler that takes longer than ``handler_timeout_seconds`` is cancelled and has failed; where
        its process hangs, the ledger says so a second later. A failure goes to the agent ``supervisor``, as a message
        ``escalation.raised`` with the whole story. Without one it is the operator's, and a failure the run's.
        ``budget``, such as ``"1.00 USD"``, is what it may spend in one run, with the runs that it starts there.
        ``call_budgets`` are globs of capabilities with what one call of them may cost where it says nothing itself.
        ``on_divergence`` is for a delivery whose next attempt asks for something else than is recorded. ``park`` waits
        for a person. ``restart`` begins from nothing, where that repeats no effects. ``fail`` fails it.
        """
        self.name = _checked_name(name, "agent")
        if name.startswith(RESERVED):
            raise ValueError(f"agent name {name!r} is reserved; names that begin with {RESERVED!r} are the platform's")
        if type(max_deliveries) is not int or max_deliveries < 1:
            raise ValueError(f"max_deliveries is {max_deliveries!r}; use an integer of 1 or more")
        self.reads, self.writes = _globs("reads", reads), _globs("writes", writes)
        self.capabilities, self.publishes = _globs("capabilities", capabilities), _globs("publishes", publishes)
        self.workflows, self.starts = _globs("workflows", workflows), _globs("starts", starts)
        if not self.workflows:
            raise ValueError(f"agent {name!r} takes part in no workflow; leave workflows out to take part in all")
        self.controls = self.workflows if controls is None else _globs("controls", controls)
        self.max_deliveries = max_deliveries
        self.retry, self._retries = _checked_retry(retry) or Retry(), dict[str, Retry]()
        self.handler_timeout_seconds = time_limit("handler_timeout_seconds", handler_timeout_seconds)
        self._handler_timeout_ms = milliseconds("handler_timeout_seconds", handler_timeout_seconds)
        self.supervisor = _checked_supervisor(supervisor, name)
        self.budget = budget
        self._budget_nano_usd = nano_usd("budget", budget)
        self.call_budgets = _nano_usd_each("call_budgets", call_budgets or {})
        """In nano-USD."""
        if on_divergence not in get_args(OnDivergence):
            raise ValueError(f"on_divergence is {on_divergence!r}; use one of {', '.join(get_args(OnDivergence))}")
        self.on_divergence: OnDivergence = on_divergence
        self._handlers: dict[str, Handler] = {}

    def on(self, name: str, *more: str, retry: Retry | None = None) -> Callable[[H], H]:
        """Decorates the coroutine function that handles messages of this name (or of several names). It is called as
        ``handler(ctx, event)``; when it returns the message is handled, when it raises the message is delivered again.
        Its return value, JSON or a pydantic model, is the answer to a request.

        In a name ``*`` stands for any characters, dots included: ``search.*`` hears ``search.completed`` and
        ``search.web.failed``, ``*`` hears everything, what the agent itself publishes as well. A message has one
        handler: that of its exact name, else that of the name with the most characters besides ``*``. ``retry`` is for
        these messages; None: the agent's.

        Raises:
            ValueError: a name is not allowed, or has a handler already.
            TypeError: what is decorated is no coroutine function of two arguments.
        """
        names = [_checked_name(item, "message", wildcards=True) for item in (name, *more)]
        own = _checked_retry(retry)

        def register(handler: H) -> H:
            _check_handler(handler, self.name, names[0])
            for item in names:
                if item in self._handlers:
                    raise ValueError(f"agent {self.name!r} already has a handler for {item!r}; give it one name each")
            self._handlers.update(dict.fromkeys(names, handler))
            if own is not None:
                self._retries.update(dict.fromkeys(names, own))
            return handler

        return register

    @property
    def subscriptions(self) -> tuple[str, ...]:
        """Names of the messages it handles, wildcards as they are, sorted."""
        return tuple(sorted(self._handlers))

    def handler_for(self, name: str) -> Handler | None:
        """The handler of a message, the most specific one; None when this version of the agent has none."""
        pattern = most_specific(self._handlers, name)
        return self._handlers[pattern] if pattern is not None else None

    def registration(self) -> RegistrationBody:
        """The declaration as the ledger gets it."""
        return RegistrationBody(
            name=self.name,
            subscriptions=list(self.subscriptions),
            workflows=list(self.workflows),
            reads=list(self.reads),
            writes=list(self.writes),
            capabilities=list(self.capabilities),
            publishes=list(self.publishes),
            max_deliveries=self.max_deliveries,
            supervisor=self.supervisor,
            handler_timeout_ms=self._handler_timeout_ms,
            budget_nano_usd=self._budget_nano_usd,
            call_budgets=self.call_budgets,
            retries={name: retry.policy() for name, retry in {"": self.retry, **self._retries}.items()},
            starts=list(self.starts) or [NOTHING],
            controls=list(self.controls) or [NOTHING],
            on_divergence="" if self.on_divergence == "park" else self.on_divergence,
        )

    def __repr__(self) -> str:
        return f"Agent({self.name!r}, on={list(self.subscriptions)})"


def _nano_usd_each(what: str, amounts: Mapping[str, str]) -> dict[str, int]:
    return {glob: nano_usd(f"{what}[{glob!r}]", amount) for glob, amount in amounts.items()}


def _checked_retry(retry: Retry | None) -> Retry | None:
    if retry is not None and not isinstance(retry, Retry):
        raise TypeError(f"retry is {retry!r}; use Retry(attempts=5, initial_seconds=1.0)")
    return retry


def _checked_name(name: str, what: str, *, wildcards: bool = False) -> str:
    if not isinstance(name, str):
        raise TypeError(f"the name of {what} is a string, not {type(name).__name__}")
    shown = name.replace("*", "x") if wildcards else name  # an "x" may stand wherever a wildcard may
    if not NAME.fullmatch(shown) or len(name) > NAME_LIMIT:
        rule = f"lower-case letters, digits and _, parted by single . or -, at most {NAME_LIMIT} characters"
        rule += "; * stands for any characters" if wildcards else ""
        raise ValueError(f"{what} name {name!r} is not allowed; use {rule}")
    return name


def _checked_supervisor(supervisor: str, agent: str) -> str:
    if supervisor == agent:
        raise ValueError(f"agent {agent!r} is its own supervisor; name another one, or leave it to the operator")
    return _checked_name(supervisor, "supervisor") if supervisor else ""


def _globs(what: str, given: Iterable[str] | None) -> tuple[str, ...]:
    if given is None:
        return UNRESTRICTED
    if isinstance(given, str):
        raise TypeError(f"{what} is the string {given!r}; use a list: [{given!r}]")
    globs = tuple(given)
    for glob in globs:
        if not (glob and isinstance(glob, str)):
            raise TypeError(f"{what} has {glob!r}; use non-empty strings")
    return globs


def _check_handler(handler: Any, agent: str, name: str) -> None:
    called = f"the handler of {agent!r} for {name!r}"
    candidates = (inspect.unwrap(handler), type(handler).__call__) if callable(handler) else ()
    if not any(map(inspect.iscoroutinefunction, candidates)):
        raise TypeError(
            f"{called} is no coroutine function; write `async def {getattr(handler, '__name__', 'handle')}`"
        )
    try:
        inspect.signature(handler).bind("ctx", "event")
    except TypeError as error:
        raise TypeError(f"{called} cannot take (ctx, event): {error}") from error
