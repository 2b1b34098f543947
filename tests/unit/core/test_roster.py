"""What operators are told of whose commands are taken, from the facts of all partitions."""

from __future__ import annotations

from typing import Any

from agents_sdk.core.facts import AgentEvent, Fact, RefusalEvent
from agents_sdk.core.roster import roster

NOW = 1_767_261_600_000_000


def about(kind: str, name: str, offset: int, generation: int = 0, ends_at: int = 0) -> AgentEvent:
    return AgentEvent(
        **envelope(kind, "bp.operator", offset), name=name, key_generation=generation, previous_ends_at=ends_at
    )


def refusal(agent: str, code: str, offset: int) -> RefusalEvent:
    return RefusalEvent(**envelope("CommandRefused", agent, offset), command_kind="SetState", code=code)


def envelope(kind: str, agent: str, offset: int) -> dict[str, Any]:
    ids = {"event_id": f"e{offset}", "run_id": "", "correlation_id": "", "causation_id": "", "command_id": "c"}
    return {**ids, "kind": kind, "agent": agent, "run_seq": 0, "at": NOW, "command_offset": offset}


def test_agents_clients_and_the_refused_are_listed_with_their_keys() -> None:
    """Everybody who was registered, was issued a key or was refused; other refusals are not about identity."""
    facts: list[Fact] = [
        about("AgentRegistered", "research", 1),
        about("AgentKeyIssued", "editor", 2, 2, NOW + 5),
        about("AgentKeyRevoked", "intern", 3, 1),
        about("IdentityRequired", "", 0),
    ]
    refusals = [
        refusal("stranger", "forged", 4),
        refusal("stranger", "forged", 5),
        refusal("research", "scope", 6),
        refusal("research", "stale", 7),
    ]
    found = {each.name: each for each in roster({0: facts, 1: facts}, refusals, 2)}
    assert {name: (each.registered, each.key.generation, each.state(NOW)) for name, each in found.items()} == {
        "editor": (False, 2, "rotating"),
        "intern": (False, 1, "revoked"),
        "research": (True, 1, "valid"),
        "stranger": (False, 1, "valid"),
    }
    assert found["editor"].state(NOW + 5) == "valid"
    assert (found["stranger"].refused, found["research"].refused) == ({"forged": 2}, {"stale": 1})


def test_partitions_that_say_different_things_are_noticed() -> None:
    """An operator who was cut off half way sees that, and the older key."""
    (half,) = roster({0: [about("AgentKeyIssued", "research", 1, 2)]}, [], 2)
    assert (half.state(NOW), half.key.generation) == ("differs", 1)
