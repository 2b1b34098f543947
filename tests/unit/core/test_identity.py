"""Who may speak, by which key and when: decided from the book and from what the signature proved."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import msgspec
import pytest

from agents_sdk.core.commands import Command
from agents_sdk.core.facts import RefusalEvent
from agents_sdk.core.identity import EXECUTOR, LEDGER, OPERATOR, Proof
from agents_sdk.core.ids import RunId
from agents_sdk.core.ledger import PartitionState, Step, apply, evolve, identity, issued
from agents_sdk.core.replay import LoggedCommand, replay
from tests.support.ledger_desk import Desk, answer, detail, kinds

FOLD = import_module("agents_sdk.core.ledger.evolve")
"""The module; the package gives its name to the function in it."""
NOW = 1_767_261_600_000_000
SECOND = 1_000_000


class Guarded(Desk):
    """A desk whose commands are signed, at a platform that wants them to be."""

    def __init__(self) -> None:
        super().__init__()
        self.proof = Proof.GOOD
        self.now = NOW
        self.generation = 1
        self.logged: list[LoggedCommand] = []
        self.put(identity.required(0))

    def put(self, command: Command, at: int | None = None) -> Step:
        """Signed now, by the generation in use, unless the command says otherwise."""
        if not command.issued_at:
            number = 0 if command.agent.startswith("bp.") else self.generation
            command = msgspec.structs.replace(command, issued_at=self.now, key_generation=number)
        self.logged.append(LoggedCommand(len(self.sent), self.now, command, self.proof))
        step = apply(self.book, command, len(self.sent), self.now, self.proof)
        self.sent.append(command)
        self.facts += step.facts
        self.replies += [addressed.reply for addressed in step.replies]
        return step

    def operator(self, kind: str, **fields: Any) -> Step:
        return self.send(kind, agent=OPERATOR, run_id="", **fields)


def code(step: Step) -> str:
    (fact,) = step.facts
    assert isinstance(fact, RefusalEvent)
    return fact.code


@pytest.fixture
def desk() -> Guarded:
    return Guarded()


def test_nothing_is_asked_for_until_the_log_says_so() -> None:
    """Where no ledger has a master key, unsigned commands are applied."""
    assert kinds(Desk().start()) == ["RunStarted"]


def test_identity_is_required_once_and_only_by_the_ledger(desk: Guarded) -> None:
    """Saying it again changes nothing; nobody else may say it, nor without a good signature."""
    assert kinds(desk.put(identity.required(0))) == []
    fresh = Desk()
    assert code(fresh.put(identity.required(0))) == "unauthenticated"
    forged = msgspec.structs.replace(identity.required(0), agent="research", key_generation=1, issued_at=NOW)
    step = apply(fresh.book, forged, 7, NOW, Proof.GOOD)
    assert (code(step), fresh.book.identity_required) == ("scope", False)


@pytest.mark.parametrize(("proof", "expected"), [(Proof.UNSIGNED, "unauthenticated"), (Proof.FORGED, "forged")])
def test_command_without_a_good_signature_is_refused(desk: Guarded, proof: Proof, expected: str) -> None:
    """Whoever it says it is from, the platform's own parts included."""
    desk.start()
    desk.proof = proof
    for sender in ("client", EXECUTOR, LEDGER):
        step = desk.send("SetState", agent=sender, key="k", value="1")
        assert (code(step), answer(step).code) == (expected, expected)
    assert desk.book.runs[RunId("r")].state == {}


def test_refused_stranger_leaves_no_trace_in_the_run(desk: Guarded) -> None:
    """The run does not advance, and the id that the stranger used is still free for its owner."""
    desk.start()
    before = msgspec.msgpack.encode(desk.book.runs[RunId("r")])
    desk.proof = Proof.FORGED
    refusal = desk.send("SetState", key="k", value="1", command_id="mine").facts[0]
    assert (refusal.run_id, refusal.run_seq) == ("r", 0)
    assert msgspec.msgpack.encode(desk.book.runs[RunId("r")]) == before
    desk.proof = Proof.GOOD
    assert answer(desk.send("SetState", key="k", value="2", command_id="mine")).status == "ok"


def test_stranger_is_not_told_the_answer_to_a_command_whose_id_it_knows(desk: Guarded) -> None:
    """Nor can it have answers sent to itself."""
    desk.start()
    desk.send("SetState", key="k", value="1")
    desk.send("GetState", key="k")
    desk.proof = Proof.FORGED
    told = answer(desk.again(reply_to="stranger"))
    assert (told.status, told.value) == ("refused", "")


@pytest.mark.parametrize("skew", [-121 * SECOND, 121 * SECOND, -NOW])
def test_command_of_another_time_is_refused_and_told_by_how_much(desk: Guarded, skew: int) -> None:
    """A record copied from the log is refused for its age, and an agent with a wrong clock learns what is wrong."""
    desk.start()
    step = desk.send("SetState", key="k", value="1", issued_at=NOW + skew or 1, key_generation=1)
    assert code(step) == "stale"
    assert f"{abs(detail(step)['skew_us']) / 1e6:.1f} s {'ahead of' if skew > 0 else 'behind'}" in answer(step).message


def test_clock_that_is_a_little_wrong_does_no_harm(desk: Guarded) -> None:
    """Two minutes either way."""
    desk.start()
    for skew in (-120 * SECOND, 120 * SECOND):
        assert answer(desk.send("GetState", key="k", issued_at=NOW + skew, key_generation=1)).status == "ok"


def test_outcome_that_waited_for_the_broker_is_taken(desk: Guarded) -> None:
    """The platform's own commands may be of any age: each can take effect only once."""
    desk.start()
    call = desk.call()
    step = desk.send("CompleteCall", agent=EXECUTOR, call_id=call, result="1", issued_at=NOW - 3600 * SECOND)
    assert kinds(step) == ["CallCompleted"]


def test_rotated_key_is_valid_until_its_grace_period_is_over(desk: Guarded) -> None:
    """The new one at once, the old one for as long as the operator said, by the broker's clock."""
    desk.start()
    assert kinds(desk.operator("IssueKey", name="client", generation=2, grace_ms=60_000)) == ["AgentKeyIssued"]
    assert answer(desk.send("GetState", key="k")).status == "ok"
    desk.generation = 2
    assert answer(desk.send("GetState", key="k")).status == "ok"
    desk.now += 60 * SECOND
    assert answer(desk.send("GetState", key="k")).status == "ok"
    desk.generation = 1
    step = desk.send("GetState", key="k")
    assert (code(step), detail(step)["newest"]) == ("revoked", 2)


def test_key_of_a_generation_that_was_not_issued_is_refused(desk: Guarded) -> None:
    """Somebody derived it, but nobody said so in the log."""
    desk.generation = 2
    assert code(desk.start()) == "revoked"


def test_revoked_key_is_refused_until_the_next_is_issued(desk: Guarded) -> None:
    """Revoking takes the one before with it; the next generation is another key."""
    desk.operator("IssueKey", name="client", generation=2, grace_ms=60_000)
    assert kinds(desk.operator("RevokeKey", name="client", generation=2)) == ["AgentKeyRevoked"]
    for desk.generation in (1, 2):
        assert code(desk.start()) == "revoked"
    assert kinds(desk.operator("IssueKey", name="client", generation=3, grace_ms=60_000)) == ["AgentKeyIssued"]
    assert code(desk.start()) == "revoked"
    desk.generation = 3
    assert kinds(desk.start()) == ["RunStarted"]


def test_revoking_the_key_before_ends_its_grace_period_only(desk: Guarded) -> None:
    """What replaced it goes on."""
    desk.operator("IssueKey", name="client", generation=2, grace_ms=60_000)
    assert kinds(desk.operator("RevokeKey", name="client", generation=1)) == ["AgentKeyRevoked"]
    assert code(desk.start()) == "revoked"
    desk.generation = 2
    assert kinds(desk.start()) == ["RunStarted"]


def test_commands_about_keys_sent_again_change_nothing(desk: Guarded) -> None:
    """An old one too: it names its generation."""
    issue, revoke = {"name": "client", "generation": 2}, {"name": "client", "generation": 1}
    desk.operator("IssueKey", **issue)
    assert kinds(desk.operator("IssueKey", **issue)) == []
    assert kinds(desk.operator("RevokeKey", **revoke)) == []
    known = desk.book.keys["client"]
    assert (known.generation, known.revoked) == (2, False)


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "bp.executor", "generation": 1},
        {"name": "", "generation": 1},
        {"name": "n" * 201, "generation": 1},
        {"name": "client", "generation": 3},
        {"name": "client", "generation": 0},
        {"name": "client", "generation": 2, "grace_ms": -1},
        {"name": "client", "generation": 2, "grace_ms": 1 << 40},
    ],
)
def test_key_that_cannot_be_issued_is_refused(desk: Guarded, wrong: dict[str, Any]) -> None:
    """The platform's names, gaps between generations, and units that were mistaken."""
    assert code(desk.operator("IssueKey", **wrong)) == "invalid_command"


def test_only_an_operator_manages_keys(desk: Guarded) -> None:
    """An agent with a good key of its own cannot issue itself another, nor take away a neighbour's."""
    for kind in ("IssueKey", "RevokeKey"):
        step = desk.send(kind, agent="client", run_id="", name="client", generation=1)
        assert (code(step), detail(step)["rule"]) == ("scope", "keys")


def test_forgotten_command_is_not_applied_again(desk: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    """While its answer is kept it is answered as before; afterwards it is refused, until it is too old anyway."""
    monkeypatch.setattr(FOLD, "RECENT_LIMIT", 3)
    desk.start()
    desk.send("SetState", key="k", value="1")
    copied = desk.sent[-1]
    desk.send("SetState", key="k", value="2")
    assert answer(desk.put(copied)).version == 1
    for _ in range(3):
        desk.send("GetState", key="k")
    assert code(desk.put(copied)) == "replayed"
    desk.now += 119 * SECOND
    assert code(desk.put(copied)) == "replayed"
    desk.now += 2 * SECOND
    assert code(desk.put(copied)) == "stale"
    assert len(desk.book.runs[RunId("r")].state["k"]) == 2


def test_older_declaration_of_an_agent_does_not_come_back(desk: Guarded) -> None:
    """A copy of a registration with wider rights than the present one is refused; sent again as it is, it is heard."""
    desk.register("research")
    wide = desk.sent[-1]
    assert kinds(desk.put(wide)) == []
    desk.register("research", writes=["notes"])
    assert code(desk.put(wide)) == "replayed"
    assert desk.book.agents["research"].writes == ("notes",)


def test_agent_is_declared_by_itself_or_an_operator(desk: Guarded) -> None:
    """Nobody widens a neighbour's rights."""
    step = desk.send("RegisterAgent", agent="intruder", run_id="", name="research", writes=["*"])
    assert (code(step), detail(step)["rule"]) == ("scope", "name")
    assert kinds(desk.send("RegisterAgent", agent=OPERATOR, run_id="", name="research")) == ["AgentRegistered"]


def test_recovered_book_knows_the_same_keys(desk: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it is folded from facts, in any overlap with what was folded before."""
    monkeypatch.setattr(FOLD, "RECENT_LIMIT", 2)
    desk.start()
    for value in range(5):
        desk.send("SetState", key="k", value=str(value))
    desk.operator("IssueKey", name="client", generation=2, grace_ms=60_000)
    desk.operator("RevokeKey", name="other", generation=1)
    book = PartitionState()
    for fact in (*desk.facts, *desk.facts):
        evolve(book, fact)
    assert (book.keys, book.identity_required, book.spent) == (
        desk.book.keys,
        True,
        desk.book.spent,
    )
    assert sum(map(len, book.spent.values())) == 6  # three of the client, and three about identity itself


@pytest.mark.parametrize("checked", [True, False])
def test_replay_decides_the_same_with_and_without_the_master_key(desk: Guarded, checked: bool) -> None:
    """What the signature proved is in the record, for whoever cannot check it."""
    desk.start()
    for desk.proof in (Proof.FORGED, Proof.UNSIGNED, Proof.GOOD):
        desk.send("SetState", key="k", value=f"{desk.proof}")
    desk.send("SetState", key="k", value="9", issued_at=1, key_generation=1)
    desk.operator("RevokeKey", name="client", generation=1)
    desk.send("SetState", key="k", value="10")
    about_keys = [fact for fact in desk.facts if not fact.run_id]
    facts = [fact for fact in desk.facts if fact.run_id == "r"]
    commands = [each for each in desk.logged if each.command.run_id == "r"]
    if not checked:
        commands = [msgspec.structs.replace(each, proof=None) for each in commands]
    verdict = replay("r", commands, about_keys, facts, desk.book.limits)  # type: ignore[arg-type]  # facts about no run are AgentEvents
    assert verdict.identical
    assert [fact.code for fact in facts if isinstance(fact, RefusalEvent)] == [
        "forged",
        "unauthenticated",
        "stale",
        "revoked",
    ]


@pytest.mark.parametrize("required", [False, True])
def test_command_in_a_partition_that_is_not_its_runs_is_refused(required: bool) -> None:
    """By whomever it is signed, and where nobody has to sign; counted once, however often the fact is folded."""
    desk = Guarded() if required else Desk()
    desk.proof = Proof.MISPLACED
    step = desk.send("StartRun", run_id="elsewhere")
    assert (code(step), step.facts[0].run_seq) == ("misplaced", 0)
    assert not desk.book.runs
    evolve(desk.book, step.facts[0])
    assert desk.book.refused == {"misplaced": 1}


@pytest.mark.parametrize("proof", [Proof.UNSIGNED, Proof.FORGED, Proof.MISPLACED])
def test_start_that_the_ledger_did_not_say_here_tells_no_parent_that_its_child_failed(
    desk: Guarded, proof: Proof
) -> None:
    """Whoever says that it is the ledger, or copies what it said, could end others' children otherwise."""
    desk.proof = proof
    step = desk.send("StartRun", agent=LEDGER, run_id="child", parent_run_id="r", workflow="w")
    (refusal,) = step.facts
    assert not issued(refusal)
    desk.proof = Proof.GOOD
    desk.start()
    (refusal,) = desk.send("StartRun", agent=LEDGER, run_id="r", parent_run_id="parent", workflow="w").facts
    assert [command.run_id for command in issued(refusal)] == ["parent"]
