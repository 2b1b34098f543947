"""Changes of what a name may do, with their author: registrations, grants, keys and removals, as the store has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from backplane.store.queries import ask

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


class Act(msgspec.Struct, frozen=True):
    """One act about a name."""

    at: int
    """Microseconds UTC."""
    kind: str
    done_by: str
    """The author, by its own name; the agent itself where it registered."""
    key_generation: int
    roles: list[str]
    rights: list[str]
    """The declared or granted rights, each as right and glob."""
    not_granted: list[str]


def acts(client: Client, name: str) -> list[Act]:
    """The acts about a name, the last one first."""
    return ask(client, "audit", Act, agent=name)
