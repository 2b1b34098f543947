"""Rights are granted, not claimed: a declaration asks, an operator grants, and an agent may do what is in both."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents_sdk.core.commands import BODIES, BODY_OF_KIND, RegistrationBody
from agents_sdk.core.facts import AgentEvent
from agents_sdk.core.identity import OPERATOR
from agents_sdk.core.ids import RunId
from agents_sdk.core.ledger import PartitionState, evolve, rights
from agents_sdk.core.ledger.rules import RIGHTS, allows, budget_of, supervisor_of
from tests.support.guarded_desk import ALL, RightsDesk, code, rule
from tests.support.ledger_desk import Desk, answer, detail, kinds

NARROW = {"reads": ["public"], "workflows": ["*"], "starts": ["-"], "controls": ["-"], "subscriptions": ["none"]}


def known(desk: Desk) -> Any:
    return desk.book.agents, desk.book.grants, desk.book.contracts, desk.book.keys


@pytest.mark.parametrize("who", ["unknown", "issued", "removed", "declared"])
@pytest.mark.parametrize("kind", sorted(BODY_OF_KIND))
def test_who_has_no_rights_changes_nothing_by_any_command(who: str, kind: str) -> None:
    """Whatever kind it sends: it may only ask to be registered. Its key is good all the while."""
    desk = RightsDesk(policy="none")
    desk.agent("other", **ALL)
    desk.start()
    desk.send("SetState", key="k", value="1")
    if who == "issued":
        desk.send("IssueKey", agent=OPERATOR, run_id="", name=who, generation=1)
    elif who == "removed":
        desk.agent(who, **ALL)
        desk.send("RemoveAgent", agent=OPERATOR, run_id="", name=who)
    elif who == "declared":
        desk.register(who)
    if kind == "RegisterAgent":
        return
    before = msgspec.msgpack.encode(known(desk)), msgspec.structs.astuple(desk.book.runs[RunId("r")])[:10]
    shape = BODIES[BODY_OF_KIND[kind]]
    fields: dict[str, Any] = {"key": "k", "name": "other", "recipient": "other", "capability": "c", "call_id": "c"}
    fields |= {"partition": 0, "offset": 0}
    fields |= {"value": "2", "keys": ["k"], "workflow": "w", "complete_when": "idle", "downstream": "other"}
    fields |= {"target": "state", "pattern": "k", "schema": "true", "action": "a", "provider": "p", "error_class": "e"}
    about = {} if kind not in ("ApplyContract", "GrantRights", "IssueKey") else {"run_id": ""}
    step = desk.send(kind, agent=who, **about, **{k: v for k, v in fields.items() if k in shape.__struct_fields__})
    assert code(step) == "not_granted"
    assert step.facts[0].run_seq == 0
    assert (msgspec.msgpack.encode(known(desk)), msgspec.structs.astuple(desk.book.runs[RunId("r")])[:10]) == before


def test_the_first_declaration_is_granted_and_a_wider_one_is_not() -> None:
    """An agent that may not read the secret registers itself again with everything, and reads it not."""
    desk = RightsDesk()
    step = desk.register("nosy", reads=["public"], subscriptions=["none"])
    assert kinds(step) == ["AgentRegistered", "RightsGranted"]
    desk.start()
    desk.send("SetState", key="secret", value="1")
    step = desk.register("nosy", reads=["*"], subscriptions=["*"], starts=["more"])
    assert detail(step) == {"not_granted": ["subscriptions *", "reads *"]}
    assert isinstance(step.facts[0], AgentEvent)
    assert step.facts[0].not_granted == ["subscriptions *", "reads *"]
    for kind, fields in (("GetState", {"key": "secret"}), ("GetStates", {"key": "", "keys": ["secret"]})):
        assert rule(desk.send(kind, agent="nosy", **fields)) == "reads"
    assert answer(desk.send("ListState", agent="nosy", key="")).value == "[]"
    assert "MessageDelivered" not in kinds(desk.send("Publish", name="tip.given"))
    assert detail(desk.register("nosy", reads=["*"], subscriptions=["*"], starts=["more"])) == {
        "not_granted": ["subscriptions *", "reads *"]
    }


def test_a_wider_declaration_holds_once_an_operator_grants_it() -> None:
    """From the moment of the grant on, without another registration."""
    desk = RightsDesk()
    desk.register("nosy", reads=["public"])
    desk.start()
    desk.register("nosy", reads=["*"])
    assert code(desk.send("GetState", agent="nosy", key="secret")) == "scope"
    spec = desk.book.agents["nosy"]
    desk.grant("nosy", operator="ada", **rights.asked(spec))
    assert code(desk.send("GetState", agent="nosy", key="secret")) == ""
    assert desk.book.grants["nosy"].operator == "ada"
    assert rights.withheld(desk.book, "nosy") == []


def test_what_is_not_declared_is_not_allowed_though_it_was_granted() -> None:
    """The intersection: least privilege is the agent's own choice."""
    desk = RightsDesk()
    desk.grant("modest", **ALL)
    desk.register("modest", reads=["public"])
    desk.start()
    assert code(desk.send("GetState", agent="modest", key="public")) == ""
    assert rule(desk.send("GetState", agent="modest", key="secret")) == "reads"


def test_a_removed_agent_that_comes_back_has_what_it_was_granted_and_no_more() -> None:
    """Removal is no way to start anew with a first declaration; while it is away it may do nothing."""
    desk = RightsDesk()
    desk.register("gone", reads=["public"])
    desk.start()
    desk.send("RemoveAgent", agent=OPERATOR, run_id="", name="gone", operator="ada")
    assert desk.facts[-1].operator == "ada"  # type: ignore[attr-defined]  # an AgentEvent
    assert code(desk.send("GetState", agent="gone", key="public")) == "not_granted"
    step = desk.register("gone", reads=["*"])
    assert detail(step) == {"not_granted": ["reads *"]}
    assert code(desk.send("GetState", agent="gone", key="public")) == ""
    assert rule(desk.send("GetState", agent="gone", key="secret")) == "reads"


def test_budgets_and_supervisors_are_granted_too() -> None:
    """A wider budget is a right, and so is to have a message sent to another agent whenever one fails."""
    desk = RightsDesk()
    desk.register("boss")
    desk.register("spender", budget_nano_usd=10, supervisor="boss")
    assert (budget_of(desk.book, "spender"), supervisor_of(desk.book, "spender")) == (10, "boss")
    step = desk.register("spender", budget_nano_usd=-1, supervisor="victim")
    assert detail(step)["not_granted"] == ["supervisors victim", "budget_nano_usd -1"]
    assert (budget_of(desk.book, "spender"), supervisor_of(desk.book, "spender")) == (10, "")


@pytest.mark.parametrize("policy", rights.POLICIES)
def test_policy_says_which_declarations_are_granted(policy: str) -> None:
    """None without an operator, the first one of a name, or every one."""
    desk = RightsDesk(policy)
    desk.register("a", reads=["one"])
    desk.start()
    first = code(desk.send("GetState", agent="a", key="one"))
    desk.register("a", reads=["one", "two"])
    second = code(desk.send("GetState", agent="a", key="two"))
    assert (first, second) == {
        "none": ("not_granted", "not_granted"),
        "first": ("", "scope"),
        "all": ("", ""),
    }[policy]


def test_an_operator_that_declares_an_agent_grants_it() -> None:
    """The word of whoever holds the master key."""
    desk = RightsDesk("none")
    step = desk.send("RegisterAgent", agent=OPERATOR, run_id="", name="a", reads=["*"])
    assert kinds(step) == ["AgentRegistered", "RightsGranted"]


def test_what_was_declared_before_stays_granted_and_names_without_declaration_lose_all() -> None:
    """A platform that is brought up to date goes on with its agents as they are."""
    desk = RightsDesk()
    fresh = Desk()
    fresh.register("old", reads=["public"])
    fresh.start()
    fresh.book.identity_required = True
    grants = rights.required(0, "first")
    desk.book = fresh.book
    desk.put(grants)
    assert desk.book.grants["old"].operator == rights.BEFORE
    assert code(desk.send("GetState", agent="old", key="public")) == ""
    desk.register("old", reads=["*"])
    assert code(desk.send("GetState", agent="old", key="secret")) == "scope"
    assert code(desk.send("GetState", agent="issued", key="public")) == "not_granted"


def test_only_the_operator_grants_and_only_the_ledger_requires() -> None:
    """With a good key of any other name nobody widens anything."""
    desk = RightsDesk()
    desk.register("a")
    for kind in ("GrantRights", "RequireGrants"):
        for agent in ("a", "client", "bp.executor"):
            assert code(desk.send(kind, agent=agent, run_id="", name="a", policy="all")) == "scope"
    assert desk.book.policy == "first"


def test_a_client_that_the_platform_knows_is_not_introduced_anew() -> None:
    """The owner of the master key introduces unknown names only: no agent, removed agent or issued key among them."""
    desk = RightsDesk()
    desk.register("agent", reads=["public"])
    desk.register("gone")
    desk.send("RemoveAgent", agent=OPERATOR, run_id="", name="gone")
    desk.send("IssueKey", agent=OPERATOR, run_id="", name="issued", generation=1)
    for name in ("agent", "gone", "issued", "client"):
        assert rule(desk.grant(name, client=True, unknown_only=True, **ALL)) == "unknown_only"
    assert kinds(desk.grant("fresh", client=True, unknown_only=True, **ALL)) == ["RightsGranted"]


@pytest.mark.parametrize("name", ["bp.executor", "bp.new", "bp.facts"])
def test_a_name_of_the_platform_sends_its_own_kinds_only(name: str) -> None:
    """The key of an executor is no key to the runs."""
    desk = RightsDesk()
    desk.start()
    for kind, fields in (("GetState", {"key": "k"}), ("CancelRun", {}), ("SetState", {"key": "k", "value": "1"})):
        assert rule(desk.send(kind, agent=name, **fields)) == "platform"


def test_grants_are_folded_the_same_in_any_overlap() -> None:
    """Recovery folds facts that it has folded before."""
    desk = RightsDesk()
    desk.register("a", reads=["one"])
    desk.grant("a", reads=["two"])
    desk.register("a", reads=["*"])
    desk.grant("b", client=True, reads=["*"])
    book = PartitionState()
    for fact in (*desk.facts, *desk.facts):
        evolve(book, fact)
    assert (book.grants, book.policy, book.rights_required) == (desk.book.grants, "first", True)


GLOBS = st.text("ab*?.", min_size=1, max_size=5)


@given(glob=GLOBS, patterns=st.lists(GLOBS, max_size=3), name=st.text("ab.", max_size=6))
def test_a_covered_glob_matches_nothing_that_is_not_granted(glob: str, patterns: list[str], name: str) -> None:
    """What is told as granted is granted, whatever name is asked about."""
    if rights.covered(glob, tuple(patterns)) and allows((glob,), name):
        assert allows(tuple(patterns), name)


def test_covered_says_yes_where_it_should() -> None:
    """The usual globs, and brackets by their letters."""
    assert all(
        rights.covered(glob, (wider,))
        for glob, wider in (
            ("a", "*"),
            ("a.b", "a.*"),
            ("a.*", "a.*"),
            ("a.b.*", "a.*"),
            ("[ab]", "[ab]"),
            ("a?", "a*"),
        )
    )
    assert not any(rights.covered(glob, (wider,)) for glob, wider in (("a*", "a?"), ("*", "a*"), ("a", "b")))


def test_asking_names_every_right() -> None:
    """A right that a declaration could not ask for would never be granted by one."""
    asked = rights.asked(RegistrationBody(name="a", supervisor="boss"))
    assert tuple(asked) == RIGHTS
    assert asked["supervisors"] == ["boss"]
