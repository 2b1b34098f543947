"""Messages, handlers and dependencies."""

from __future__ import annotations

from typing import Any

import pytest

from agents_sdk.core.ledger.state import Dependency
from tests.support.ledger_desk import Desk, answer, detail, kinds


@pytest.fixture
def desk() -> Desk:
    desk = Desk()
    for name in ("one", "two", "three"):
        desk.register(name, max_deliveries=2)
    desk.start()
    return desk


def test_a_published_message_goes_to_subscribers_of_the_workflow() -> None:
    """Globs of names and of workflows decide; the sender learns how many inboxes it went to."""
    desk = Desk()
    desk.register("hears", subscriptions=["search.*"])
    desk.register("elsewhere", subscriptions=["*"], workflows=["other"])
    desk.register("deaf")
    desk.start()
    step = desk.send("Publish", name="search.completed", data='{"n":1}')
    assert [(f.kind, getattr(f, "recipient", "")) for f in step.facts] == [
        ("MessagePublished", ""),
        ("MessageDelivered", "hears"),
    ]
    assert detail(step) == {"recipients": 1}


def test_a_message_to_nobody_names_who_may_be_meant(desk: Desk) -> None:
    """A typing error in a recipient is refused with the nearest names."""
    step = desk.send("SendMessage", name="go", recipient="thre")
    assert answer(step).code == "unknown_agent"
    assert detail(step)["nearest"] == ["three"]


@pytest.mark.parametrize("name", ["", "Search", "a..b", "a b", "x" * 201, "é"])
def test_a_message_name_is_dotted_lower_case(desk: Desk, name: str) -> None:
    """Names that would not fit a glob or a topic are refused."""
    assert answer(desk.send("Publish", name=name)).code == "invalid_command"


def test_an_agent_publishes_only_what_it_declared(desk: Desk) -> None:
    """The refusal names the rule."""
    desk.register("one", publishes=["draft.*"])
    step = desk.send("Publish", agent="one", name="search.done")
    assert detail(step) == {"rule": "publishes", "name": "search.done", "allowed": ["draft.*"]}


def test_a_failed_handler_gets_the_message_again_then_it_is_dead_and_the_run_failed(desk: Desk) -> None:
    """Redelivery keeps the delivery, counts the attempt, and ends in the dead letter with its cause."""
    first = desk.deliver("one")
    step = desk.fail(first)
    assert kinds(step) == ["HandlerFailed", "MessageDelivered"]
    second: Any = step.facts[-1]
    assert (second.delivery_id, second.attempt, second.data) == (first.delivery_id, 2, first.data)
    step = desk.fail(second)
    assert kinds(step) == ["HandlerFailed", "MessageDeadLettered", "RunFailed"]
    assert step.facts[1].error_type == "ValueError"  # type: ignore[attr-defined]
    assert "'one' failed 2 times on 'go': ValueError: no" in desk.book.finished["r"].reason


def test_a_late_report_of_an_earlier_attempt_changes_nothing(desk: Desk) -> None:
    """A worker that lost its inbox reports attempt 1 while attempt 2 is under way: noted, not redelivered."""
    first = desk.deliver("one")
    second: Any = desk.fail(first).facts[-1]
    step = desk.within(first, "FailHandler", attempt=1, command_id="late")
    assert kinds(step) == ["HandlerFailed"]
    assert desk.book.runs["r"].deliveries[first.delivery_id].attempt == 2
    assert kinds(desk.complete(second)) == ["HandlerCompleted"]


@pytest.mark.parametrize("attempt", [0, -1, 2, 99])
def test_an_attempt_that_was_not_made_cannot_end(desk: Desk, attempt: int) -> None:
    """A report about no attempt is refused, so that it neither redelivers nor leaves the delivery hanging."""
    delivery = desk.deliver("one")
    assert answer(desk.within(delivery, "FailHandler", attempt=attempt)).code == "invalid_command"


def test_only_the_recipient_ends_a_delivery(desk: Desk) -> None:
    """Another agent's report is refused by scope."""
    delivery = desk.deliver("one")
    step = desk.send("CompleteHandler", agent="two", delivery_id=delivery.delivery_id)
    assert (answer(step).code, detail(step)["rule"]) == ("scope", "recipient")


def test_a_redelivered_handler_gets_the_first_answers_again(desk: Desk) -> None:
    """Its commands have the ids of the first attempt: no new facts, the same answers; once settled it is stopped."""
    first = desk.deliver("one")
    told = answer(desk.within(first, "SetState", 0, key="k", value="1"))
    second: Any = desk.fail(first).facts[-1]
    step = desk.within(second, "SetState", 0, key="k", value="2")
    assert (step.facts, answer(step)) == ([], told)
    desk.complete(second)
    assert answer(desk.within(second, "SetState", 0, key="k", value="3")).code == "delivery_settled"
    assert answer(desk.within(first, "SetState", 1, key="k", value="4")).code == "delivery_settled"
    assert len(desk.book.runs["r"].state["k"]) == 1


def test_a_dependency_fires_when_the_last_upstream_agent_has_completed(desk: Desk) -> None:
    """Not while one has deliveries open; with the fact that met it; and once."""
    step = desk.send("DeclareDependency", downstream="three", depends_on=["one", "two"], trigger_when="all_completed")
    assert detail(step)["satisfied"] is False
    both = [desk.deliver("one"), desk.deliver("one")]
    other = desk.deliver("two")
    assert kinds(desk.complete(other)) == ["HandlerCompleted"]
    assert kinds(desk.complete(both[0])) == ["HandlerCompleted"]
    step = desk.complete(both[1])
    assert kinds(step) == ["HandlerCompleted", "DependencySatisfied", "MessageDelivered"]
    trigger: Any = step.facts[-1]
    assert (trigger.name, trigger.recipient) == ("dependency.satisfied", "three")
    assert trigger.data == '{"depends_on":["one","two"]}'
    assert kinds(desk.complete(desk.deliver("one"))) == ["HandlerCompleted"]


def test_a_dependency_on_work_done_fires_at_once(desk: Desk) -> None:
    """Declared after the upstream work, it triggers in the same step and says so."""
    desk.complete(desk.deliver("one"))
    step = desk.send(
        "DeclareDependency", downstream="two", depends_on=["one"], trigger_when="all_completed", name="go.on"
    )
    assert kinds(step) == ["DependencyDeclared", "DependencySatisfied", "MessageDelivered"]
    assert step.facts[-1].name == "go.on"  # type: ignore[attr-defined]
    assert detail(step)["satisfied"] is True


def test_dependencies_met_by_one_fact_fire_in_the_order_they_were_declared() -> None:
    """Not in that of a set or of names: a replay must write them alike."""
    desk = Desk()
    names = ["up", *"hcfaegbd"]
    for name in names:
        desk.register(name)
    desk.start()
    for name in names[1:]:
        desk.send("DeclareDependency", downstream=name, depends_on=["up"], trigger_when="all_completed")
    step = desk.complete(desk.deliver("up"))
    met: list[Any] = [fact for fact in step.facts if fact.kind == "DependencySatisfied"]
    assert [fact.downstream for fact in met] == names[1:]


def test_a_cycle_is_refused_and_named(desk: Desk) -> None:
    """Agents that would wait for each other for ever are listed, each before the one it waits for."""
    for downstream, upstream in (("two", "one"), ("three", "two")):
        desk.send("DeclareDependency", downstream=downstream, depends_on=[upstream], trigger_when="all_completed")
    step = desk.send("DeclareDependency", downstream="one", depends_on=["three"], trigger_when="all_completed")
    assert detail(step)["cycle"] == ["one", "three", "two", "one"]
    assert "one → three → two → one" in answer(step).message
    step = desk.send("DeclareDependency", downstream="one", depends_on=["one"], trigger_when="all_completed")
    assert detail(step)["cycle"] == ["one", "one"]


def test_a_chain_of_dependencies_may_be_longer_than_the_stack(desk: Desk) -> None:
    """The search for cycles does not recurse: 3,000 agents in a row are no RecursionError."""
    for number in range(3_000):
        waits = Dependency(downstream=f"a{number + 1}", depends_on=[f"a{number}"], name="go")
        desk.book.runs["r"].dependencies[f"d{number}"] = waits
    desk.book.runs["r"].dependencies["last"] = Dependency(downstream="a0", depends_on=["one"], name="go")
    step = desk.send("DeclareDependency", downstream="one", depends_on=["two"], trigger_when="all_completed")
    assert kinds(step) == ["DependencyDeclared"]
    desk.register("a3000")
    step = desk.send("DeclareDependency", downstream="one", depends_on=["a3000"], trigger_when="all_completed")
    assert answer(step).message.startswith("this closes a cycle: one → a3000 → a2999 → ")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"depends_on": ["one"], "trigger_when": "any"}, "trigger_when"),
        ({"depends_on": []}, "depends_on"),
        ({"depends_on": ["one", "one"]}, "depends_on"),
        ({"depends_on": ["one"], "name": "Not A Name"}, "name"),
    ],
)
def test_a_malformed_dependency_is_refused_by_field(desk: Desk, fields: dict[str, Any], field: str) -> None:
    """The refusal names the field."""
    step = desk.send("DeclareDependency", downstream="two", **{"trigger_when": "all_completed", **fields})
    assert (answer(step).code, detail(step)["field"]) == ("invalid_command", field)
