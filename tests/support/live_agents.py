"""Agents that run in the test's own process, against a platform that other tests use as well."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from agents_sdk import Agent, AgentsRunner, Settings
from agents_sdk.scope import new_id


@contextlib.asynccontextmanager
async def running(settings: Settings, *agents: Agent) -> AsyncIterator[AgentsRunner]:
    """These agents, in this process."""
    runner = AgentsRunner(agents, settings)
    await runner.start()
    try:
        yield runner
    finally:
        await runner.close()


def own(what: str) -> str:
    """A name nobody else has: the platform is shared."""
    return f"{what}-{new_id()[-12:]}"
