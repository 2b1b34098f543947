"""Dependencies: on agents, events and state keys; met once, by the fact that met them."""

from __future__ import annotations

from typing import Any

import pytest

from agents_sdk.core.ids import RunId
from agents_sdk.core.ledger.state import Dependency
from tests.support.ledger_desk import Desk, answer, detail, kinds


@pytest.fixture
def desk() -> Desk:
    desk = Desk()
    for name in ("one", "two", "three"):
        desk.register(name, max_deliveries=2)
    desk.start()
    return desk


def depend(desk: Desk, *depends_on: str, when: str = "all_completed", **fields: Any) -> Any:
    """Agent ``three`` depends on these."""
    return desk.send("DeclareDependency", downstream="three", depends_on=[*depends_on], trigger_when=when, **fields)


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
        desk.book.runs[RunId("r")].dependencies[f"d{number}"] = waits
    desk.book.runs[RunId("r")].dependencies["last"] = Dependency(downstream="a0", depends_on=["one"], name="go")
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
        ({"depends_on": ["event:Not A Name"]}, "name"),
        ({"depends_on": ["one"], "count": 1}, "count"),
        ({"depends_on": ["one", "state:k"], "trigger_when": "n_completed"}, "count"),
        ({"depends_on": ["one", "state:k"], "trigger_when": "n_completed", "count": 3}, "count"),
    ],
)
def test_a_malformed_dependency_is_refused_by_field(desk: Desk, fields: dict[str, Any], field: str) -> None:
    """The refusal names the field."""
    step = desk.send("DeclareDependency", downstream="two", **{"trigger_when": "all_completed", **fields})
    assert (answer(step).code, detail(step)["field"]) == ("invalid_command", field)


TRIGGERED = ["DependencySatisfied", "MessageDelivered"]


def test_an_event_and_a_state_key_meet_a_dependency(desk: Desk) -> None:
    """In the step that published or wrote, whichever came last; later ones change nothing."""
    depend(desk, "event:search.completed", "state:findings")
    published = desk.send("Publish", name="search.completed")
    assert kinds(published) == ["MessagePublished"]
    written = desk.send("SetState", key="findings", value="1")
    assert kinds(written) == ["StateWritten", *TRIGGERED]
    met: Any = written.facts[1]
    assert met.satisfied_by == [published.facts[0].event_id, written.facts[0].event_id]
    assert kinds(desk.send("SetState", key="findings", value="2")) == ["StateWritten"]


def test_events_and_state_that_were_there_before_count(desk: Desk) -> None:
    """Declared afterwards it fires at once, by the first publication and the newest value; a deletion undoes it."""
    first = desk.send("Publish", name="search.completed").facts[0]
    desk.send("Publish", name="search.completed")
    desk.send("SetState", key="findings", value="1")
    assert kinds(depend(desk, "event:search.completed", "state:findings"))[1:] == TRIGGERED
    assert desk.facts[-2].satisfied_by[0] == first.event_id  # type: ignore[attr-defined]
    desk.send("DeleteState", key="findings")
    assert kinds(depend(desk, "state:findings")) == ["DependencyDeclared"]


def test_any_and_n_need_as_many_as_they_say(desk: Desk) -> None:
    """One of three, and two of three; who met it is told to the triggered agent."""
    depend(desk, "one", "two", "state:k", when="any_completed", name="any")
    depend(desk, "one", "two", "state:k", when="n_completed", count=2, name="two")
    step = desk.send("SetState", key="k", value="1")
    assert [fact.name for fact in step.facts[1:]] == ["any", "any"]  # type: ignore[attr-defined]
    assert step.facts[-1].data == '{"depends_on":["one","two","state:k"],"met":["state:k"]}'  # type: ignore[attr-defined]
    step = desk.complete(desk.deliver("two"))
    assert [fact.name for fact in step.facts[1:]] == ["two", "two"]  # type: ignore[attr-defined]
    assert kinds(desk.complete(desk.deliver("one"))) == ["HandlerCompleted"]


def test_the_trigger_follows_the_fact_that_met_it(desk: Desk) -> None:
    """A subscriber's own delivery of the event stands before the trigger: nothing overtakes."""
    desk.register("two", subscriptions=["search.*"])
    depend(desk, "event:search.completed")
    step = desk.send("Publish", name="search.completed")
    assert kinds(step) == ["MessagePublished", "MessageDelivered", *TRIGGERED]


def test_a_cycle_over_agents_is_refused_however_little_is_needed(desk: Desk) -> None:
    """Events and keys are on no cycle: nobody has to wait for an agent to publish or write them."""
    desk.send("DeclareDependency", downstream="one", depends_on=["state:k", "three"], trigger_when="any_completed")
    assert detail(depend(desk, "event:a.b", "one", when="any_completed"))["cycle"] == ["three", "one", "three"]
    assert kinds(depend(desk, "state:k")) == ["DependencyDeclared"]
