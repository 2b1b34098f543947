"""The fingerprint of a handler's command: its kind, its target, and a hash of what it asks for. Pure.

A handler that runs again must ask for the same again. The ledger keeps the fingerprint with the answer and compares it
when the command comes again. Limits are no part of it: a timeout, a deadline, a time to live and a budget may depend on
the attempt. The choices of the sender's process are none either: who makes a local call, where the answer goes.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Any, Final

from agents_sdk.core import ids, kinds
from agents_sdk.core.commands import BODY_OF_KIND, Command

TARGET_LIMIT: Final = 200
"""Characters of a target that a fingerprint shows; the hash covers all of it."""
HASH_CHARS: Final = 16
"""64 bits. They find a mistake, and nobody gains by a collision with a command of its own."""

Asks = Callable[[Any], tuple[str, str]]


def _names(*names: str) -> str:
    """One text for several names; no two lists of names have the same."""
    return "".join(f"{len(name)}:{name}" for name in names)


ASKS: Final[dict[str, Asks]] = {
    kinds.SET_STATE: lambda state: (
        state.key,
        f"{state.expected_version}\0{state.value}" if state.guarded else state.value,
    ),
    kinds.DELETE_STATE: lambda state: (state.key, str(state.expected_version) if state.guarded else ""),
    kinds.GET_STATE: lambda state: (state.key, f"{state.version}/{state.at}" if state.version or state.at else ""),
    kinds.GET_STATES: lambda state: ("", _names(*state.keys)),
    kinds.LIST_STATE: lambda state: (state.key, ""),
    kinds.GET_HISTORY: lambda state: (state.key, ""),
    kinds.PUBLISH: lambda message: (message.name, message.data),
    kinds.SEND_MESSAGE: lambda message: (f"{message.recipient}/{message.name}", message.data),
    kinds.ASK: lambda message: (f"{message.recipient}/{message.name}", message.data),
    kinds.REDRIVE: lambda message: (message.dead_delivery_id, f"{message.restart}/{message.repeat_effects}"),
    kinds.DISCARD: lambda message: (message.dead_delivery_id, message.reason),
    kinds.DECLARE_DEPENDENCY: lambda on: (
        on.downstream,
        _names(*on.depends_on, on.trigger_when, on.name, str(on.count)),
    ),
    kinds.RECORD_DECISION: lambda decision: (decision.action, _names(decision.rationale, *decision.context_used)),
    kinds.CALL_CAPABILITY: lambda call: (
        call.capability,
        _names(call.params, call.config, call.dead_call_id) if call.config or call.dead_call_id else call.params,
    ),
    kinds.REDRIVE_CALL: lambda call: (call.dead_call_id, ""),
    kinds.DISCARD_CALL: lambda call: (call.dead_call_id, call.reason),
    kinds.RECORD_STEP: lambda step: (step.name, _names("unsafe", step.params) if step.unsafe else step.params),
    kinds.START_CHILD: lambda run: (run.workflow, _names(run.input, run.complete_when, run.child_run_id, *run.tags)),
    kinds.AWAIT_CHILD: lambda run: (run.child_run_id, ""),
    kinds.CANCEL_CHILD: lambda run: (run.child_run_id, run.reason),
    kinds.COMPLETE_RUN: lambda run: ("", run.result),
    kinds.FAIL_RUN: lambda run: ("", run.reason),
    kinds.CANCEL_RUN: lambda run: ("", run.reason),
}
"""Kind that a handler sends → its target, and one text of all else that it asks for. Kinds that are not here are the
SDK's own reports: their content may differ between two processes that handle one delivery."""


def of(command: Command) -> str:
    """``<kind> <target> <hash>``, the hash only where there is more than a target; empty for a kind of no handler."""
    kind = command.kind
    asks = ASKS.get(kind)
    body = getattr(command, BODY_OF_KIND[kind]) if asks is not None else None
    if asks is None or body is None:
        return ""
    target, text = asks(body)
    if len(target) > TARGET_LIMIT:
        target, text = target[:TARGET_LIMIT], _names(target, text)
    return f"{kind} {target} {_hash(kind, text)}" if text else f"{kind} {target}"


def _hash(kind: str, text: str) -> str:
    """Of all of the text. A write shares the hash that its fact has; the others take the cheaper one."""
    try:
        if kind == kinds.SET_STATE:
            return ids.sha256(text)[:HASH_CHARS]
        said = text.encode()
    except UnicodeEncodeError:  # half a character, which no record can hold
        said = text.encode("utf-8", "surrogatepass")
    return blake2b(said, digest_size=HASH_CHARS // 2).hexdigest()


def kind_of(fingerprint: str) -> str:
    """The kind of the command that it is of."""
    return fingerprint.partition(" ")[0]


def target_of(fingerprint: str) -> str:
    """The target of the command that it is of, shortened; it may hold spaces itself."""
    target = fingerprint.partition(" ")[2]
    head, _, last = target.rpartition(" ")
    return head if len(last) == HASH_CHARS and not set(last) - set("0123456789abcdef") else target
