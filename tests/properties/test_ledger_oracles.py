"""The ledger against naive oracles: dicts of lists, and everything recomputed from all facts, over any history."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

import msgspec
from hypothesis import given

from agents_sdk.core.facts import ContractEvent
from agents_sdk.core.kinds import RUN_ENDS
from tests.properties.test_ledger_laws import LAW
from tests.support.joining import joined
from tests.support.ledger_strategies import HISTORIES, Entry, History


def scoped(run_id: str, key: str) -> str:
    """What globs are held against."""
    return f"{run_id}/{key}" if run_id.startswith("memory/") else key


Values = dict[tuple[str, str], list[str]]
"""(run, key) → values by version, a deletion as an empty one."""


def _reducer(contracts: dict[str, str], key: str) -> str:
    """Of the contract that is most specific, in the order the strategies' patterns have."""
    order = ("plan", "notes", "alpha.*", "a[", "n*s", "*.draft")
    return next((contracts[p] for p in order if p in contracts and fnmatchcase(key, p)), "replace")


def _check_write(entry: Entry, values: list[str], reducer: str) -> None:
    """Compare-and-set as a list of values has it."""
    command, body = entry.command, entry.command.state
    assert body is not None
    fact: Any = entry.facts[0]
    version = len(values)
    absent = not values or not values[-1]
    fits = not body.guarded or body.expected_version == version or (body.expected_version == 0 and absent)
    if fact.kind == "CommandRefused":
        if fact.code == "version_conflict":
            assert not fits
            assert msgspec.json.decode(fact.detail)["current_version"] == version
        return
    if fact.kind not in ("StateWritten", "StateDeleted"):  # its id was a call's before: asked again
        return
    assert fits
    assert fact.version == version + 1
    after = ""
    if command.kind == "SetState":
        how = "replace" if body.guarded else reducer
        after = body.value if how == "replace" else joined(how, values[-1] if values else "", body.value)
        assert (fact.reducer, fact.operand) == (("", "") if how == "replace" else (how, body.value))
        assert msgspec.json.decode(fact.value) == msgspec.json.decode(after)
        after = fact.value
    values.append(after)
    told = entry.own_reply()
    assert (told is not None) == bool(command.reply_to)
    assert told is None or (told.status, told.version) == ("ok", version + 1)


def _check_reads(entry: Entry, values: Values) -> None:
    """Every key asked for at once, each a fact, at its newest version; and told in one list."""
    body, told = entry.command.state, entry.own_reply()
    if body is None or entry.facts[0].kind != "StateRead":
        return
    newest = [(key, values[entry.command.run_id, key]) for key in body.keys]
    reads: list[Any] = entry.facts
    assert [(fact.key, fact.version, fact.batch) for fact in reads] == [(k, len(v), len(newest)) for k, v in newest]
    if told is not None:
        rows = [
            {"key": key, "version": len(known)}
            | ({"value": msgspec.json.decode(known[-1])} if known and known[-1] else {})
            for key, known in newest
        ]
        assert msgspec.json.decode(told.value) == rows


def _check_read(entry: Entry, values: list[str]) -> None:
    fact: Any = entry.facts[0]
    body, told = entry.command.state, entry.own_reply()
    if body is not None and fact.kind == "CommandRefused" and "has no version" in fact.message:
        assert not 1 <= body.version <= len(values)
    if body is None or fact.kind != "StateRead":
        return
    if not body.at:
        assert fact.version == (body.version or len(values))
    if told is not None:
        assert told.version == fact.version
        assert told.value == (values[fact.version - 1] if fact.version else "")


@LAW
@given(HISTORIES)
def test_state_is_a_list_of_values_for_each_key(history: History) -> None:
    """Writes append if their guard fits, deletes append nothing-there, reads see the list, as of any version."""
    values: Values = defaultdict(list)
    contracts: dict[str, dict[str, str]] = defaultdict(dict)
    workflows: dict[str, str] = {}
    for entry in history.entries:
        for fact in entry.facts:
            if isinstance(fact, ContractEvent) and fact.target == "state":
                contracts[fact.workflow].pop(fact.pattern, None)
                if fact.kind == "ContractApplied":
                    contracts[fact.workflow][fact.pattern] = fact.reducer
            elif fact.kind == "RunStarted":
                workflows[fact.run_id] = fact.workflow  # type: ignore[attr-defined]  # the kind says it is a RunEvent
            if fact.kind == "StateExpired":
                expired: Any = fact
                values[fact.run_id, expired.key].append("")
                assert expired.version == len(values[fact.run_id, expired.key])
        body = entry.command.state
        if not (entry.lived or entry.lives) or body is None or not entry.facts:
            continue
        known = values[entry.command.run_id, body.key]
        if entry.command.kind in ("SetState", "DeleteState"):
            name = scoped(entry.command.run_id, body.key)
            own = contracts[workflows.get(entry.command.run_id, "")]
            governs = own if any(fnmatchcase(name, pattern) for pattern in own) else contracts[""]
            _check_write(entry, known, _reducer(governs, name))
        elif entry.command.kind == "RestoreState" and entry.facts[0].kind == "StateWritten":
            assert known == []
            known.append(body.value)
        elif entry.command.kind == "GetStates":
            _check_reads(entry, values)
        elif entry.command.kind == "GetState":
            _check_read(entry, known)
        elif entry.command.kind == "GetHistory" and entry.facts[0].kind == "HistoryRead" and entry.command.reply_to:
            told = entry.own_reply()
            assert told is not None
            rows = msgspec.json.decode(told.value) if told.value else []
            assert [row["deleted"] for row in rows] == [not value for value in known] or told.code == "oversize"


class Work:
    """Who has done its work, recomputed from all facts of a run each time it is asked."""

    def __init__(self) -> None:
        self.facts: list[Any] = []

    def of(self, *kinds: str) -> Iterator[Any]:
        return (fact for fact in self.facts if fact.kind in kinds)

    def open_deliveries(self) -> dict[str, str]:
        """Delivery → agent."""
        handled = {fact.delivery_id for fact in self.of("HandlerCompleted", "MessageDeadLettered")}
        made = {fact.delivery_id: fact.recipient for fact in self.of("MessageDelivered")}
        return {delivery: agent for delivery, agent in made.items() if delivery not in handled}

    def open_calls(self) -> set[str]:
        settled = {fact.call_id for fact in self.of("CallCompleted", "CallFailed")}
        return {fact.call_id for fact in self.of("CallRequested")} - settled

    def open_children(self) -> set[str]:
        ended = {fact.child_run_id for fact in self.of("ChildEnded")}
        return {fact.child_run_id for fact in self.of("ChildStarted")} - ended

    def waiting(self) -> dict[str, Any]:
        """Dependency → its declaration, those not met."""
        met = {fact.dependency_id for fact in self.of("DependencySatisfied", "DependencyExpired")}
        declared = {fact.dependency_id: fact for fact in self.of("DependencyDeclared")}
        return {name: fact for name, fact in declared.items() if name not in met}

    def completed(self) -> dict[str, str]:
        """Agent with all its work done → its latest HandlerCompleted."""
        busy = set(self.open_deliveries().values())
        return {f.recipient: f.event_id for f in self.of("HandlerCompleted") if f.recipient not in busy}

    def there(self) -> dict[str, str]:
        """Everything that a dependency may wait for and that is there → the fact which says so."""
        found = self.completed()
        for fact in self.facts:
            if fact.kind == "MessagePublished":
                found.setdefault(f"event:{fact.name}", fact.event_id)
            elif fact.kind == "StateWritten":
                found[f"state:{fact.key}"] = fact.event_id
            elif fact.kind == "StateDeleted":
                found.pop(f"state:{fact.key}", None)
        return found

    def idle(self) -> bool:
        worked = any(self.of("HandlerCompleted", "MessageDeadLettered"))
        if any(fact.resumed_from for fact in self.of("RunStarted")) and not any(self.of("RunResumed")):
            return False  # not all is there yet that it takes over
        return worked and not (self.open_deliveries() or self.open_calls() or self.open_children() or self.waiting())


MAY_MEET = ("HandlerCompleted", "MessageDeadLettered", "MessagePublished", "StateWritten", "DependencyDeclared")


@LAW
@given(HISTORIES)
def test_a_dependency_triggers_once_and_with_the_fact_that_met_it(history: History) -> None:
    """In the step in which the last of what it needs comes, or it is declared with enough there; at no other time."""
    work: dict[str, Work] = defaultdict(Work)
    for entry in history.entries:
        run = work[entry.command.run_id]
        due: dict[str, list[str]] = {}
        for fact in entry.facts:
            run.facts.append(fact)
            if fact.kind in MAY_MEET and "RunFailed" not in entry.kinds():
                there = run.there()
                for name, declared in run.waiting().items():
                    met_by = [there[term] for term in declared.depends_on if term in there]
                    needed = {"any_completed": 1, "n_completed": declared.count}
                    if len(met_by) >= needed.get(declared.trigger_when, len(declared.depends_on)):
                        due.setdefault(name, met_by)
        met: list[Any] = [fact for fact in entry.facts if fact.kind == "DependencySatisfied"]
        assert {fact.dependency_id: fact.satisfied_by for fact in met} == due
        assert len(met) == len(due)
        for fact in met:
            triggers: list[Any] = [f for f in entry.facts if getattr(f, "message_id", "") == fact.event_id]
            assert [(f.kind, f.recipient, f.attempt) for f in triggers] == [("MessageDelivered", fact.downstream, 1)]
            assert triggers[0].run_seq > fact.run_seq > entry.facts[0].run_seq
        if entry.command.kind == "DeclareDependency" and entry.lived and met and entry.own_reply():
            told = entry.own_reply()
            assert told is not None
            assert msgspec.json.decode(told.detail)["satisfied"] is True


@LAW
@given(HISTORIES)
def test_a_run_ends_by_itself_exactly_when_nothing_is_left_to_do(history: History) -> None:
    """An idle run has ended after the step that made it idle and not before; an explicit one never ends so."""
    work: dict[str, Work] = defaultdict(Work)
    modes: dict[str, str] = {}
    for entry in history.entries:
        run_id = entry.command.run_id
        for fact in entry.facts:
            known: Any = fact
            if fact.kind == "RunCompleted" and known.reason == "idle":
                assert modes[run_id] == "idle"
                assert work[run_id].idle()
            if fact.kind == "RunStarted":
                modes[run_id] = known.complete_when
            work[run_id].facts.append(fact)
        if entry.lives and not run_id.startswith("memory/"):
            assert modes[run_id] == "explicit" or not work[run_id].idle()


@LAW
@given(HISTORIES)
def test_a_run_starts_once_and_ends_once_and_only_costs_come_later(history: History) -> None:
    """After the end nothing but attempts, which were paid for, joins the run's sequence."""
    started: set[str] = set()
    ended: set[str] = set()
    memories = {"memory/lessons", "memory/facts"}
    for fact in history.facts:
        if not fact.run_seq or fact.run_id in memories:
            continue
        assert (fact.run_id in started) == (fact.kind != "RunStarted")
        assert fact.run_id not in ended or fact.kind in ("AttemptSucceeded", "AttemptFailed")
        if fact.kind == "RunStarted":
            assert fact.run_seq == 1
            started.add(fact.run_id)
        elif fact.kind in RUN_ENDS:
            ended.add(fact.run_id)
    assert started - ended == set(history.book.runs) - memories
    assert ended == set(history.book.finished)


@LAW
@given(HISTORIES)
def test_what_a_run_leaves_open_when_it_ends_is_told_so_once(history: History) -> None:
    """Each open delivery but that of the handler which ends the run, each open call, each open child; nothing else."""
    work: dict[str, Work] = defaultdict(Work)
    told = ("DeliveryCancelled", "CallCancelled", "ChildOrphaned")
    for entry in history.entries:
        known = work[entry.command.run_id]
        known.facts += [fact for fact in entry.facts if fact.kind not in told]
        left: list[Any] = [fact for fact in entry.facts if fact.kind in told]
        if not any(fact.kind in RUN_ENDS for fact in entry.facts):
            assert left == []
            continue
        assert sorted(fact.delivery_id for fact in left if fact.kind == told[0]) == sorted(
            known.open_deliveries().keys() - {entry.command.delivery_id}
        )
        assert sorted(fact.call_id for fact in left if fact.kind == told[1]) == sorted(known.open_calls())
        assert sorted(fact.child_run_id for fact in left if fact.kind == told[2]) == sorted(known.open_children())


@LAW
@given(HISTORIES)
def test_a_call_is_asked_for_claimed_settled_and_paid_for_once(history: History) -> None:
    """One intent before one outcome, one claim an attempt, one cost an attempt, however many commands tell of it."""
    intents: set[str] = set()
    outcomes: Counter[str] = Counter()
    claims: Counter[tuple[str, int]] = Counter()
    costs: Counter[tuple[str, int]] = Counter()
    for entry in history.entries:
        for fact in entry.facts:
            known: Any = fact
            match fact.kind:
                case "CallRequested":
                    assert known.call_id not in intents
                    intents.add(known.call_id)
                case "CallCompleted" | "CallFailed":
                    assert known.call_id in intents
                    outcomes[known.call_id] += 1
                case "AttemptStarted":
                    claims[known.call_id, known.attempt] += 1
                case "AttemptSucceeded" | "AttemptFailed":
                    costs[known.call_id, known.attempt] += 1
    assert all(count == 1 for counts in (outcomes, claims, costs) for count in counts.values())


@LAW
@given(HISTORIES)
def test_a_call_is_settled_by_an_executor_or_where_it_is_local_by_its_caller(history: History) -> None:
    """And the outcome says which of them it was; claims are an executor's alone."""
    asked: dict[str, Any] = {}
    for fact in history.facts:
        known: Any = fact
        match fact.kind:
            case "CallRequested":
                asked[known.call_id] = known
            case "CallCompleted" | "CallFailed":
                assert known.local == (known.agent != "bp.executor")
                assert not known.local or (asked[known.call_id].local and known.agent == asked[known.call_id].agent)
            case "AttemptSucceeded" | "AttemptFailed" if known.agent != "bp.executor":
                assert asked[known.call_id].local
                assert known.agent == asked[known.call_id].agent
            case "AttemptStarted":
                assert known.agent == "bp.executor"


@LAW
@given(HISTORIES)
def test_a_call_that_failed_with_a_story_is_told_once_and_redriven_at_most_once(history: History) -> None:
    """Whoever redrives it asks for what was asked then; a failure without a story is told to nobody else."""
    asked: dict[str, Any] = {}
    letters: dict[str, Any] = {}
    for entry in history.entries:
        for fact in entry.facts:
            known: Any = fact
            match fact.kind:
                case "CallRequested":
                    asked[known.call_id] = known
                case "CallFailed":
                    told = [f for f in entry.facts if getattr(f, "message_id", "") == fact.event_id]
                    assert [f.kind for f in told][:1] == ["EscalationRaised"] * bool(known.report)
                    if known.report:
                        assert known.params == asked[known.call_id].params
                        letters[known.call_id] = known
                case "CallRedriven":
                    letter, again = letters.pop(known.call_id), asked[known.redriven_as]
                    assert letter.error_code != "outcome_unknown"
                    assert (again.redrive_of, again.redrives) == (letter.call_id, letter.redrives + 1)
                    assert (again.capability, again.params, again.config) == (
                        letter.capability, letter.params, letter.config,
                    )  # fmt: skip


@LAW
@given(HISTORIES)
def test_every_attempt_at_a_call_is_paid_for_however_late(history: History) -> None:
    """An executor's record of an attempt is never refused once its run exists, open or settled, live or ended."""
    existing: set[str] = set()
    for entry in history.entries:
        command = entry.command
        sound = command.kind == "RecordAttempt" and command.agent == "bp.executor" and not command.delivery_id
        if sound and command.run_id in existing and command.attempt and command.attempt.capability:
            assert "CommandRefused" not in entry.kinds()
        existing |= {fact.run_id for fact in entry.facts if fact.kind == "RunStarted"}


@LAW
@given(HISTORIES)
def test_agents_do_only_what_their_declaration_allows(history: History) -> None:
    """No fact shows a declared agent beyond its globs at that time; a list shows only keys it may read."""
    specs: dict[str, Any] = {}
    rights = {
        "StateWritten": ("writes", "key"), "StateDeleted": ("writes", "key"), "StateRead": ("reads", "key"),
        "HistoryRead": ("reads", "key"), "CallRequested": ("capabilities", "capability"),
        "MessagePublished": ("publishes", "name"), "MessageSent": ("publishes", "name"),
    }  # fmt: skip
    for entry in history.entries:
        for fact in entry.facts:
            if fact.kind == "AgentRegistered":
                specs[fact.name] = fact  # type: ignore[attr-defined]  # the kind says it is an AgentEvent
            elif fact.kind == "AgentRemoved":
                specs.pop(fact.name)  # type: ignore[attr-defined]  # this one too
            spec, right = specs.get(fact.agent), rights.get(fact.kind)
            if spec is not None and right is not None:
                name = getattr(fact, right[1])
                name = scoped(fact.run_id, name) if right[1] == "key" else name
                assert any(fnmatchcase(name, glob) for glob in getattr(spec, right[0]))
            told = entry.own_reply()
            if spec is not None and fact.kind == "StateListed" and told is not None and told.value:
                for row in msgspec.json.decode(told.value):
                    assert any(fnmatchcase(scoped(fact.run_id, row["key"]), glob) for glob in spec.reads)
