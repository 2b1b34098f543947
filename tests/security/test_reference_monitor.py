"""The ledger against a reference monitor: whatever a dishonest client sends with a real key, it may do and is told what
the monitor says, and nothing else.

Worlds have several agents and clients with rights of all kinds, some removed, some unknown; runs of two workflows, one
that has ended, and memories. The attacker knows every id there is and fills every field with whatever fits its shape.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Sequence
from typing import Any, Final, TypeVar

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents_sdk.core import artifacts
from agents_sdk.core.commands import BODIES, BODY_OF_KIND, Command
from agents_sdk.core.facts import RefusalEvent, Reply
from agents_sdk.core.identity import OPERATOR
from agents_sdk.core.ids import CommandId, DeliveryId, RunId
from agents_sdk.core.ledger import Step
from tests.support.guarded_desk import RightsDesk
from tests.support.ledger_desk import EXECUTOR
from tests.support.reference_monitor import RIGHTS, Monitor

T = TypeVar("T")
SHAS: Final = ("ab" * 32, "cd" * 32)
REFS: Final = tuple(json.dumps({"uri": artifacts.reference(sha), "sha256": sha}) for sha in SHAS)
KEYS: Final = ("secret", "public", "own", f"artifacts/{SHAS[0]}")
NAMES: Final = ("tip.given", "draft.done")
WORKFLOWS: Final = ("w", "x")
RUNS: Final = ("r", "s", "r", "s", "ended", "memory/a", "memory/b", "new", "nowhere", "child")
SENDERS: Final = (*("mallory",) * 5, *("peer",) * 2, *("tool",) * 3, "ghost", "gone", "declared")
GLOBS: Final[dict[str, tuple[str, ...]]] = {
    "subscriptions": ("*", "tip.*", "run.*", "none"),
    "workflows": ("*", "w", "x", "none"),
    "reads": ("*", "public", "secret", "own", "artifacts/*", "memory/a/*", "memory/*", "none"),
    "writes": ("*", "own", "public", "memory/a/*", "artifacts/*", "none"),
    "capabilities": ("*", "search", "none"),
    "publishes": ("*", "tip.*", "dependency.*", "none"),
    "starts": ("*", "w", "x", "none"),
    "controls": ("*", "w", "x", "none"),
    "supervisors": ("*", "peer", "none"),
}
KINDS: Final = [
    kind
    for kind, body in sorted(BODY_OF_KIND.items())
    if body in ("run", "state", "message", "handler", "dependency", "decision", "call")
]
"""What agents and clients send."""
DENIED: Final = frozenset({"scope", "not_granted", "id_taken"})
VALUES: Final = ("1", '"text"', *REFS, f'{{"sha256":"{SHAS[1]}"}}', f'"\\u0061rtifact:{SHAS[0]}"', "")
LISTS: Final[dict[str, Sequence[list[str]]]] = {
    "keys": [["secret"], ["public", "own"], ["public"]],
    "depends_on": [["state:secret"], ["state:public", "event:tip.given"], ["peer"], ["event:draft.done", "mallory"]],
    "context_used": [["secret@1"], ["public"], []],
    "completed": [[], ["peer"]],
    "published": [[], ["tip.given"]],
    "caused_by": [[]],
    "tags": [[], ["found"]],
}


def secret_of(key: str) -> str:
    """What stands under a key of the runs that were set up."""
    return f"<<value of {key}>>"


class World:
    """The ledger, the monitor beside it, and the attacker's choices."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)  # no secret
        self.desk = RightsDesk(("none", "first")[self.next() % 2])
        self.monitor = Monitor()
        self._heard = 0
        self.addresses: dict[str, set[str]] = {}
        """Command → addresses that its sender gave."""
        self.owners: dict[str, str] = {}
        """Command → who sent it first."""
        self._set_up()
        self.listen()
        for command in self.desk.sent:
            self.addresses[command.command_id] = {command.reply_to}
            self.owners[command.command_id] = command.agent

    def next(self) -> int:
        """The attacker's next number."""
        return self._chance.randrange(1 << 16)

    def one_of(self, items: Sequence[T]) -> T:
        return items[self.next() % len(items)]

    def some(self, items: Sequence[T]) -> list[T]:
        """Globs, often the one that allows all."""
        first, second = self.one_of(items), self.one_of(items)
        return [items[0]] if self.next() % 2 else list(dict.fromkeys((first, second)))

    def listen(self) -> None:
        """The monitor hears what has happened."""
        for fact in self.desk.facts[self._heard :]:
            self.monitor.hear(fact)
        self._heard = len(self.desk.facts)

    def _person(self, name: str, *, client: bool = False) -> None:
        rights = {right: self.some(GLOBS[right]) for right in RIGHTS}
        self.desk.grant(name, client=client, contracts=self.some(("*", "k", "none")), **rights)
        if not client:
            asked = {right: self.some(GLOBS[right]) for right in RIGHTS if right != "supervisors"}
            self.desk.register(name, **asked, supervisor=self.one_of(("", "peer")) if name != "peer" else "")

    def _set_up(self) -> None:
        desk = self.desk
        for name in ("mallory", "peer", "gone"):
            self._person(name)
        self._person("tool", client=True)
        desk.send("RemoveAgent", agent=OPERATOR, run_id="", name="gone")
        if desk.book.policy == "none":
            desk.register("declared")
        for run_id, workflow in (("r", "w"), ("s", "x"), ("ended", "w")):
            desk.start(workflow=workflow, run_id=run_id)
            for key in KEYS:
                desk.send("SetState", run_id=run_id, key=key, value=json.dumps(secret_of(key)), reply_to="honest")
        for run_id in ("memory/a", "memory/b"):
            desk.send("SetState", run_id=run_id, key="secret", value=json.dumps(secret_of(f"{run_id}/secret")))
        desk.send("SetState", key="public", value=REFS[1])
        desk.send("CompleteRun", run_id="ended", result='"<<end of ended>>"')
        for run_id in ("r", "s"):
            for name in ("peer", "mallory"):
                desk.send("SendMessage", run_id=run_id, name="draft.done", recipient=name)
            desk.send("CallCapability", run_id=run_id, capability="search", reply_to="honest")
            desk.send("CallCapability", run_id=run_id, capability="search", reply_to="honest")
            failed = desk.sent[-1].command_id
            desk.send("FailCall", agent=EXECUTOR, run_id=run_id, call_id=failed, error_class="outage", report="{}")
            desk.send("AwaitRun", run_id=run_id, reply_to="honest")
            desk.send(
                "StartChild", run_id=run_id, workflow="x", complete_when="explicit", child_run_id=f"{run_id}-child"
            )

    def command(self) -> Command:
        """What the attacker sends next."""
        name, kind = self.one_of(SENDERS), self.one_of(KINDS if self.next() % 4 else sorted(BODY_OF_KIND))
        run_id = self.one_of(RUNS)
        if kind in ("RegisterAgent", "ApplyContract", "RemoveContract", "RemoveAgent") or kind.endswith(
            ("Key", "Rights")
        ):
            run_id = ""
        shape = BODIES[BODY_OF_KIND[kind]]
        body = shape(
            **{field: self._value(field, name) for field in shape.__struct_fields__ if self._fits(kind, field)}
        )
        known = [command.command_id for command in self.desk.sent if command.run_id == run_id] or [CommandId("none")]
        life = self.monitor.runs.get(run_id)
        deliveries = [*life.deliveries, *life.settled] if life is not None else []
        events = list(life.events) if life is not None else []
        return Command(
            command_id=CommandId(self.one_of(known) if not self.next() % 8 else f"attack-{len(self.desk.sent)}"),
            kind=kind,
            run_id=RunId(run_id),
            agent=name,
            correlation_id="",
            delivery_id=DeliveryId(self.one_of(deliveries) if deliveries and not self.next() % 3 else ""),
            causation_id=self.one_of(events) if events and not self.next() % 5 else "",
            reply_to=f"address of {name}",
            **{BODY_OF_KIND[kind]: body},  # type: ignore[arg-type]  # the field of this body
        )

    def _fits(self, kind: str, field: str) -> bool:
        """Most commands leave the platform's own fields alone, or nearly all would be refused for them."""
        rare: tuple[str, ...] = (
            "parent_run_id",
            "root_run_id",
            "started_by",
            "status",
            "state_hash",
            "resumed_from",
            "deadline_at",
            *("code", "said", "said_by"),
        )
        rare += ("spent_nano_usd", "dead_call_id", "redrives") if kind not in ("RedriveCall", "DiscardCall") else ()
        return field not in rare or not self.next() % 9

    def _value(self, field: str, name: str) -> Any:
        if field in LISTS:
            return self.one_of(LISTS[field])
        if field in GLOBS or field in ("contracts", "roles"):
            return self.some(GLOBS.get(field, ("*",)))
        numbers = {"count": 0, "attempt": 1, "budget_nano_usd": -1, "redrives": self.next() % 2, "version": 0}
        if field in numbers or field.endswith(("_ms", "_at", "_nano_usd", "_us", "_tokens")):
            return numbers.get(field, 0)
        if field in ("value", "data", "input", "result", "params"):
            return self.one_of(VALUES) or "1"
        return self._text(field, name)

    def _text(self, field: str, name: str) -> Any:
        runs = self.monitor.runs.values()
        pools: dict[str, Sequence[Any]] = {
            "workflow": WORKFLOWS,
            "complete_when": ("explicit",),
            "child_run_id": ("r-child", "s-child", "child", "new-child"),
            "key": KEYS,
            "name": (*NAMES, name) if field == "name" else (),
            "recipient": ("peer", "mallory", "gone", "nobody"),
            "downstream": ("peer", "mallory"),
            "sender": ("", "peer"),
            "capability": ("search", "other"),
            "trigger_when": ("all_completed", "any_completed"),
            "dead_call_id": [call for life in runs for call in life.failed] or ["none"],
            "dead_delivery_id": [dead for life in runs for dead in life.dead] or ["none"],
            "request_id": [asked for life in runs for asked in life.requests] or ["none"],
            "call_id": [call for life in runs for call in life.calls] or ["none"],
            "parent_run_id": ("r", ""),
            "supervisor": ("", "peer"),
            "target": ("state", "message"),
            "pattern": ("k", "public"),
            "schema": ("true",),
            "config": ("", f'{{"degraded_result":{REFS[0]}}}'),
            "policy": ("all",),
            "reason": ("because",),
            "action": ("act",),
        }
        shapes = {"guarded": False, "local": False, "client": True, "unknown_only": False, "degraded": False}
        if field in shapes:
            return shapes[field]
        if field in ("cached",):
            return False
        if field in ("call_budgets", "retries"):
            return {}
        zero = {"expected_version": 0, "at": 0, "max_deliveries": 3, "generation": 2, "schema_id": 0, "rules": 1}
        zero |= {"attempts": 1, "manifest_version": 0, "started_at": 0, "offset": 0}
        if field in zero:
            return zero[field]
        return self.one_of(pools[field]) if field in pools else ("x" if self.next() % 4 == 0 else "")

    def send(self, command: Command) -> Step:
        """Sends it, and notes where its sender wants the answer."""
        if self.owners.setdefault(command.command_id, command.agent) == command.agent:
            self.addresses.setdefault(command.command_id, set()).add(command.reply_to)
        return self.desk.put(command)

    def answers(self, reply: Reply, command: Command) -> bool:
        """Whether the reply tells of what its own asker did, or of an end that it asked for."""
        if command.kind in ("AwaitRun", "AwaitChild") or not reply.event_id:
            return True
        return all(fact.agent == command.agent for fact in self.desk.facts if fact.event_id == reply.event_id)


def told_by(step: Step) -> list[Reply]:
    return [addressed.reply for addressed in step.replies]


def leaks(world: World, reply: Reply, name: str, run_id: str) -> list[str]:
    """Keys whose value the reply tells, though its asker may not read them."""
    prefix = f"{run_id}/" if run_id.startswith("memory/") else ""
    text = reply.value + reply.message + reply.detail
    found = [key for key in KEYS if secret_of(prefix + key) in text]
    return [key for key in found if not world.monitor.can(name, "reads", prefix + key)]


EXAMPLES: Final = int(os.environ.get("MONITOR_EXAMPLES", "60"))
"""Worlds; more of them by the environment."""
COMMANDS: Final = 60
"""Of the attacker in each."""


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32))
def test_the_ledger_allows_and_tells_what_the_monitor_does(seed: int) -> None:
    """Both ways: what the monitor denies is refused and changes nothing; what it allows is not refused for want of a
    right; and no answer goes to anybody but its asker."""
    world = World(seed)
    for _ in range(COMMANDS):
        command = world.command()
        verdict = world.monitor.allows(command)
        granted, again = dict(world.desk.book.grants), command.command_id in world.owners
        step = world.send(command)
        first = step.facts[0] if step.facts else None
        code = first.code if isinstance(first, RefusalEvent) else ""
        shown = f"{command.agent} sends {command}: {code or [fact.kind for fact in step.facts]}"
        if verdict is False:
            assert code or (again and not step.facts), shown  # sent once more: nothing happens
            assert len(step.facts) <= 1, shown
            assert {each: grant for each, grant in world.desk.book.grants.items() if granted.get(each) != grant} == {}
        if verdict is True:
            assert code not in DENIED, f"{shown}: {first}"
        for reply in told_by(step):
            if (reply.command_id, reply.reply_to) == (command.command_id, command.reply_to):
                assert world.answers(reply, command), shown
                assert leaks(world, reply, command.agent, command.run_id) == [], shown
                joins = world.monitor.runs["ended"]
                if "<<end of ended>>" in reply.value:
                    assert world.monitor._joins(command.agent, joins.workflow, joins.starter), shown
            else:  # somebody waited for what this command caused
                assert reply.reply_to in world.addresses[reply.command_id], shown
        world.listen()


def test_the_monitor_sees_both_verdicts() -> None:
    """The worlds are no desert: over fixed numbers, each verdict and each code of denial comes up often."""
    seen: dict[Any, int] = {}
    for seed in range(20):
        world = World(seed)
        for _ in range(COMMANDS):
            command = world.command()
            verdict = world.monitor.allows(command)
            step = world.send(command)
            first = step.facts[0] if step.facts else None
            code = first.code if isinstance(first, RefusalEvent) else "done"
            seen[verdict] = seen.get(verdict, 0) + 1
            seen[code] = seen.get(code, 0) + 1
            world.listen()
    assert min(seen.get(each, 0) for each in (True, False, "scope", "not_granted", "id_taken", "done")) >= 20, sorted(
        seen.items(), key=str
    )
