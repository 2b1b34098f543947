"""An agent is declared in full or not at all: wrong use fails where it is written."""

from __future__ import annotations

import functools
from typing import Any

import msgspec
import pytest

from agents_sdk import Retry
from agents_sdk.agent import NAME_LIMIT, Agent
from agents_sdk.tracebacks import said, where


async def handle(ctx: Any, event: Any) -> None:
    """A handler."""


def test_none_is_registered_as_unrestricted_and_an_empty_list_as_nothing() -> None:
    """What is left out is allowed, what is listed is all that is allowed."""
    agent = Agent("a", writes=[], capabilities=["web_search"])
    agent.on("run.started", "other.name")(handle)

    body = agent.registration()

    assert (body.reads, body.writes, body.capabilities) == (["*"], [], ["web_search"])
    assert (body.publishes, body.workflows, body.max_deliveries) == (["*"], ["*"], 3)
    assert body.subscriptions == ["other.name", "run.started"]


@pytest.mark.parametrize(
    "name", ["", "Upper", "white space", "a..b", ".a", "a-", "ä", "a/b", "a\n", "x" * (NAME_LIMIT + 1), "bp.executor"]
)
def test_agent_name_outside_the_rule_is_refused(name: str) -> None:
    """A name becomes part of a topic's name and of URLs."""
    with pytest.raises(ValueError, match="agent name"):
        Agent(name)


@pytest.mark.parametrize("name", ["search.?", "[a]", "Search", "a b", "", "a..*", ".*"])
def test_message_name_outside_the_rule_is_refused(name: str) -> None:
    """A star is the one wildcard."""
    with pytest.raises(ValueError, match="message name"):
        Agent("a").on(name)


def test_the_most_specific_handler_takes_a_message() -> None:
    """The exact name, else the pattern that says most; a star spans dots; nothing where none fits."""
    agent = Agent("a")
    patterns = ("search.completed", "search.*", "*.completed", "search.web.*", "search*d")
    handlers: dict[str, Any] = {}
    for pattern in patterns:

        async def one(ctx: Any, event: Any) -> None:
            """A handler of its own."""

        handlers[pattern] = agent.on(pattern)(one)
    taken = {
        name: next((pattern for pattern in patterns if agent.handler_for(name) is handlers[pattern]), None)
        for name in (
            "search.completed",
            "search.web.failed",
            "search.other",
            "image.completed",
            "search.x.completed",
            "no",
        )
    }
    assert taken == {
        "search.completed": "search.completed",
        "search.web.failed": "search.web.*",
        "search.other": "search.*",
        "image.completed": "*.completed",
        "search.x.completed": "*.completed",
        "no": None,
    }
    assert agent.registration().subscriptions == sorted(patterns)


@pytest.mark.parametrize("field", ["reads", "writes", "capabilities", "publishes", "workflows"])
def test_string_in_place_of_a_list_is_refused(field: str) -> None:
    """A string is a list of letters to Python, which nobody means."""
    with pytest.raises(TypeError, match=field):
        Agent("a", **{field: "brief"})  # type: ignore[arg-type]  # that is the point


@pytest.mark.parametrize("value", [0, -1, True, 1.5, "3"])
def test_max_deliveries_that_is_no_count_is_refused(value: Any) -> None:
    """Attempts are counted from one."""
    with pytest.raises(ValueError, match="max_deliveries"):
        Agent("a", max_deliveries=value)


def test_no_workflow_at_all_is_refused() -> None:
    """The ledger reads an empty list as all."""
    with pytest.raises(ValueError, match="no workflow"):
        Agent("a", workflows=[])


def test_second_handler_for_a_name_is_refused_and_registers_nothing() -> None:
    """One message has one handler in an agent."""
    agent = Agent("a")
    agent.on("x")(handle)

    with pytest.raises(ValueError, match="already has a handler for 'x'"):
        agent.on("y", "x")(handle)

    assert agent.subscriptions == ("x",)


def test_handler_that_is_no_coroutine_function_is_refused() -> None:
    """A blocking handler would stop all others of its process."""

    def blocking(ctx: Any, event: Any) -> None: ...

    with pytest.raises(TypeError, match="async def"):
        Agent("a").on("x")(blocking)  # type: ignore[type-var]  # that is the point


def test_handler_with_other_parameters_is_refused() -> None:
    """It is called as handler(ctx, event)."""

    async def one(ctx: Any) -> None: ...

    with pytest.raises(TypeError, match=r"\(ctx, event\)"):
        Agent("a").on("x")(one)  # type: ignore[type-var]  # that is the point


def test_methods_partials_and_callables_are_handlers() -> None:
    """Whatever awaits like a coroutine function of two arguments is one."""

    class Callable:
        async def __call__(self, ctx: Any, event: Any) -> None: ...

        async def method(self, ctx: Any, event: Any) -> None: ...

    async def three(extra: int, ctx: Any, event: Any) -> None: ...

    agent = Agent("a")
    agent.on("callable")(Callable())
    agent.on("method")(Callable().method)
    agent.on("partial")(functools.partial(three, 1))

    assert agent.subscriptions == ("callable", "method", "partial")
    assert agent.handler_for("nobody") is None


def test_budgets_are_declared_in_dollars_and_registered_in_nano_dollars() -> None:
    """None is no limit; what is no amount is refused where it is written, naming which one."""
    body = Agent("a", budget="1.00 USD", call_budgets={"text_*": "0.05 USD"}).registration()
    assert (body.budget_nano_usd, body.call_budgets) == (1_000_000_000, {"text_*": 50_000_000})
    assert (Agent("a").registration().budget_nano_usd, Agent("a").registration().call_budgets) == (-1, {})
    with pytest.raises(ValueError, match="budget is '1 EUR'"):
        Agent("a", budget="1 EUR")
    with pytest.raises(ValueError, match="call_budgets\\['x'\\] is '1'"):
        Agent("a", call_budgets={"x": "1"})


def test_retries_are_declared_for_the_agent_and_for_a_handler() -> None:
    """Attempts back off unless the author says otherwise; what is no policy is refused where it is written."""
    agent = Agent("a")

    @agent.on("x", "y.*", retry=Retry(attempts=5, initial_seconds=0.5, factor=3, max_seconds=10, jitter=0))
    async def handle(ctx: Any, event: Any) -> None: ...

    policies = {name: msgspec.json.decode(text) for name, text in agent.registration().retries.items()}
    backoff = {"attempts": 0, "initial_ms": 1_000, "factor_percent": 200, "max_ms": 60_000, "jitter_percent": 20}
    own = {"attempts": 5, "initial_ms": 500, "factor_percent": 300, "max_ms": 10_000, "jitter_percent": 0}
    assert policies == {"": backoff, "x": own, "y.*": own}
    with pytest.raises(TypeError, match="use Retry"):
        Agent("a", retry=3)  # type: ignore[arg-type]  # that is the point
    wrong: tuple[dict[str, Any], ...] = (
        {"attempts": 0}, {"attempts": True}, {"factor": 0.5}, {"jitter": 1.5}, {"initial_seconds": float("nan")},
    )  # fmt: skip
    for fields in wrong:
        with pytest.raises(ValueError, match=f"retry {next(iter(fields))} is"):
            Retry(**fields)


def test_an_error_that_cannot_be_told_is_told_all_the_same() -> None:
    """Text that raises, that UTF-8 cannot hold, or that has no end."""

    class Silent(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    assert "RuntimeError" in said(Silent())
    assert "\\ud800" in said(ValueError("\ud800")).lower()
    said(ValueError("\ud800")).encode()
    for error in (Silent(), ValueError("\ud800"), ValueError("x" * 100_000)):
        where(error).encode()
        assert len(where(error)) <= 8_000
