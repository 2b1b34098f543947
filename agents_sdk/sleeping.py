"""A sleep of a handler: a step whose end is recorded when it begins."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import msgspec

from agents_sdk import values
from agents_sdk.core import ids, kinds
from agents_sdk.core.commands import Command, EffectBody
from agents_sdk.core.ledger.effects import END, LOOK
from agents_sdk.steps import Host, micros


def slept(host: Host, seconds: float) -> Coroutine[Any, Any, None]:
    """Builds the command of a sleep now. Its end is recorded when it begins, and each later attempt waits for the
    rest."""
    values.milliseconds("seconds", seconds)
    body = EffectBody(name="sleep", params=ids.canonical({"seconds": seconds}), mode=LOOK)
    return _slept(host, host.scope.command(kinds.RECORD_STEP, body), body, seconds)


async def _slept(host: Host, command: Command, body: EffectBody, seconds: float) -> None:
    reply = None if host.certainly_first else await host.scope.sent(command)
    if reply is None or not reply.event_id:
        began = micros()
        result = ids.canonical({"until": began + round(seconds * 1e6)})
        ended = msgspec.structs.replace(body, mode=END, result=result, attempts=1, started_at=began)
        reply = await host.scope.sent(msgspec.structs.replace(command, effect=ended))
    until = int(values.from_json(reply.value)["until"])
    with host.set_aside():
        while (left := until / 1e6 - time.time()) > 0:
            await asyncio.sleep(min(left, 3_600))  # the clock may be set meanwhile
    host.advance(until)
