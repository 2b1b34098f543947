"""The commands: requests to the ledger, imperative. One envelope, one body per family of kinds.

Field by field these are the Avro record ``schemas/avro/Command.v2.avsc``; a test proves the two equal.
"""

# long because: the bodies of all commands, in the order of the schema

from __future__ import annotations

from typing import Final

import msgspec

from agents_sdk.core import kinds
from agents_sdk.core.ids import CallId, CommandId, DeliveryId, RunId


class RunBody(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """StartRun, CompleteRun, FailRun, CancelRun, AwaitRun, StartChild, AwaitChild, CancelChild, ReportChild,
    ResumeRun."""

    workflow: str = ""
    input: str = ""
    complete_when: str = ""
    parent_run_id: RunId = RunId("")
    root_run_id: RunId = RunId("")
    result: str = ""
    reason: str = ""
    deadline_ms: int = 0
    deadline_at: int = 0
    child_run_id: RunId = RunId("")
    status: str = ""
    state_hash: str = ""
    budget_nano_usd: int = -1
    spent_nano_usd: int = 0
    rules: int = 0
    resumed_from: RunId = RunId("")
    completed: list[str] = msgspec.field(default_factory=list)
    published: list[str] = msgspec.field(default_factory=list)
    tags: list[str] = msgspec.field(default_factory=list)
    started_by: str = ""
    code: str = ""
    said: str = ""
    said_by: str = ""


class StateBody(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """SetState, GetState, GetStates, DeleteState, ListState, GetHistory, RestoreState."""

    key: str
    value: str = ""
    guarded: bool = False
    expected_version: int = 0
    version: int = 0
    keys: list[str] = msgspec.field(default_factory=list)
    at: int = 0
    ttl_ms: int = 0


class MessageBody(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Publish, SendMessage, Ask, WithdrawRequest, Redrive, Resend, Discard."""

    name: str
    recipient: str = ""
    data: str = ""
    deadline_ms: int = 0
    dead_delivery_id: DeliveryId = DeliveryId("")
    request_id: CommandId = CommandId("")
    sender: str = ""
    reason: str = ""
    restart: bool = False
    repeat_effects: bool = False


class HandlerBody(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """StartHandler, CompleteHandler, FailHandler; the delivery is the command's delivery_id."""

    attempt: int = 1
    error_type: str = ""
    error_message: str = ""
    result: str = ""
    traceback: str = ""
    counted: bool = False
    commands: int = 0
    difference: str = ""


class DependencyBody(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """DeclareDependency."""

    downstream: str
    depends_on: list[str] = msgspec.field(default_factory=list)
    trigger_when: str = ""
    name: str = ""
    count: int = 0
    deadline_ms: int = 0


class DecisionBody(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """RecordDecision."""

    action: str
    rationale: str = ""
    context_used: list[str] = msgspec.field(default_factory=list)


class CallBody(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """CallCapability, RedriveCall, DiscardCall."""

    capability: str
    params: str = ""
    timeout_ms: int = 0
    config: str = ""
    budget_nano_usd: int = -1
    dead_call_id: CallId = CallId("")
    redrives: int = 0
    local: bool = False
    reason: str = ""


class AttemptBody(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """StartAttempt, RecordAttempt; CompleteCall and FailCall may have it besides their own: the attempt that led to the
    outcome."""

    call_id: CallId
    attempt: int = 0
    provider: str = ""
    model: str = ""
    prompt_version: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cost_nano_usd: int = 0
    price_id: str = ""
    latency_us: int = 0
    started_at: int = 0
    error_class: str = ""
    error_message: str = ""
    executor: str = ""
    capability: str = ""
    manifest_version: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    input_audio_tokens: int = 0
    reasoning_tokens: int = 0
    output_audio_tokens: int = 0
    tier: str = ""
    assignment: int = 0
    lease_ms: int = 0
    fencing_token: int = 0


class OutcomeBody(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """CompleteCall, FailCall."""

    call_id: CallId
    result: str = ""
    provider: str = ""
    degraded: bool = False
    attempts: int = 0
    cost_nano_usd: int = 0
    latency_us: int = 0
    error_class: str = ""
    error_code: str = ""
    error_message: str = ""
    asked_nano_usd: int = 0
    cached: bool = False
    report: str = ""
    manifest_version: int = 0
    fencing_token: int = 0
    said: str = ""
    said_by: str = ""


class EffectBody(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """RecordStep, SettleStep: an effect of the author's own, made in the handler's process."""

    name: str
    params: str = ""
    mode: str = ""
    unsafe: bool = False
    holder: str = ""
    lease_ms: int = 0
    call_id: CallId = CallId("")
    attempt: int = 0
    result: str = ""
    error_code: str = ""
    error_message: str = ""
    attempts: int = 0
    latency_us: int = 0
    started_at: int = 0
    usages: str = ""


class RegistrationBody(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """RegisterAgent, RemoveAgent."""

    name: str
    subscriptions: list[str] = msgspec.field(default_factory=list)
    workflows: list[str] = msgspec.field(default_factory=list)
    reads: list[str] = msgspec.field(default_factory=list)
    writes: list[str] = msgspec.field(default_factory=list)
    capabilities: list[str] = msgspec.field(default_factory=list)
    publishes: list[str] = msgspec.field(default_factory=list)
    max_deliveries: int = 0
    supervisor: str = ""
    handler_timeout_ms: int = 0
    budget_nano_usd: int = -1
    call_budgets: dict[str, int] = msgspec.field(default_factory=dict)
    retries: dict[str, str] = msgspec.field(default_factory=dict)
    starts: list[str] = msgspec.field(default_factory=list)
    controls: list[str] = msgspec.field(default_factory=list)
    operator: str = ""
    on_divergence: str = ""


class TimerBody(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """TimerFired."""

    name: str
    due_at: int = 0


class ContractBody(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """ApplyContract, RemoveContract."""

    target: str
    pattern: str
    schema: str = ""
    reducer: str = ""
    schema_id: int = 0
    ttl_ms: int = 0
    workflow: str = ""


class KeyBody(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """IssueKey, RevokeKey, RequireIdentity."""

    name: str = ""
    generation: int = 0
    grace_ms: int = 0
    operator: str = ""


class BreakerBody(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """OpenBreaker, ProbeBreaker, CloseBreaker."""

    capability: str
    provider: str
    error_class: str
    caused_by: list[str] = msgspec.field(default_factory=list)
    open_ms: int = 0
    probe_ms: int = 0
    executor: str = ""


class SkipBody(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """SkipRecord."""

    partition: int
    offset: int
    reason: str = ""


class GrantBody(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """GrantRights, RequireGrants."""

    name: str = ""
    roles: list[str] = msgspec.field(default_factory=list)
    subscriptions: list[str] = msgspec.field(default_factory=list)
    workflows: list[str] = msgspec.field(default_factory=list)
    reads: list[str] = msgspec.field(default_factory=list)
    writes: list[str] = msgspec.field(default_factory=list)
    capabilities: list[str] = msgspec.field(default_factory=list)
    publishes: list[str] = msgspec.field(default_factory=list)
    starts: list[str] = msgspec.field(default_factory=list)
    controls: list[str] = msgspec.field(default_factory=list)
    supervisors: list[str] = msgspec.field(default_factory=list)
    contracts: list[str] = msgspec.field(default_factory=list)
    budget_nano_usd: int = -1
    client: bool = False
    unknown_only: bool = False
    policy: str = ""
    operator: str = ""


Body = (
    RunBody
    | StateBody
    | MessageBody
    | HandlerBody
    | DependencyBody
    | DecisionBody
    | CallBody
    | AttemptBody
    | OutcomeBody
    | EffectBody
    | RegistrationBody
    | TimerBody
    | ContractBody
    | KeyBody
    | BreakerBody
    | SkipBody
    | GrantBody
)


class Command(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A request to the ledger; one body is set, the one that belongs to ``kind``, and ``attempt`` beside an outcome."""

    command_id: CommandId
    kind: str
    run_id: RunId
    agent: str
    correlation_id: str
    causation_id: str = ""
    delivery_id: DeliveryId = DeliveryId("")
    reply_to: str = ""
    reply_partition: int = 0
    run: RunBody | None = None
    state: StateBody | None = None
    message: MessageBody | None = None
    handler: HandlerBody | None = None
    dependency: DependencyBody | None = None
    decision: DecisionBody | None = None
    call: CallBody | None = None
    attempt: AttemptBody | None = None
    outcome: OutcomeBody | None = None
    effect: EffectBody | None = None
    registration: RegistrationBody | None = None
    timer: TimerBody | None = None
    contract: ContractBody | None = None
    key: KeyBody | None = None
    breaker: BreakerBody | None = None
    skip: SkipBody | None = None
    grant: GrantBody | None = None
    issued_at: int = 0
    key_generation: int = 0
    step: str = ""
    signature: bytes = b""


BODIES: Final[dict[str, type[Body]]] = {
    "run": RunBody,
    "state": StateBody,
    "message": MessageBody,
    "handler": HandlerBody,
    "dependency": DependencyBody,
    "decision": DecisionBody,
    "call": CallBody,
    "attempt": AttemptBody,
    "outcome": OutcomeBody,
    "effect": EffectBody,
    "registration": RegistrationBody,
    "timer": TimerBody,
    "contract": ContractBody,
    "key": KeyBody,
    "breaker": BreakerBody,
    "skip": SkipBody,
    "grant": GrantBody,
}
"""Field of Command → class of that body."""

BODY_OF_KIND: Final = {
    kinds.START_RUN: "run",
    kinds.COMPLETE_RUN: "run",
    kinds.FAIL_RUN: "run",
    kinds.CANCEL_RUN: "run",
    kinds.AWAIT_RUN: "run",
    kinds.START_CHILD: "run",
    kinds.AWAIT_CHILD: "run",
    kinds.CANCEL_CHILD: "run",
    kinds.REPORT_CHILD: "run",
    kinds.RESUME_RUN: "run",
    kinds.SET_STATE: "state",
    kinds.GET_STATE: "state",
    kinds.GET_STATES: "state",
    kinds.DELETE_STATE: "state",
    kinds.LIST_STATE: "state",
    kinds.GET_HISTORY: "state",
    kinds.RESTORE_STATE: "state",
    kinds.PUBLISH: "message",
    kinds.SEND_MESSAGE: "message",
    kinds.ASK: "message",
    kinds.WITHDRAW_REQUEST: "message",
    kinds.REDRIVE: "message",
    kinds.RESEND: "message",
    kinds.DISCARD: "message",
    kinds.START_HANDLER: "handler",
    kinds.COMPLETE_HANDLER: "handler",
    kinds.FAIL_HANDLER: "handler",
    kinds.DECLARE_DEPENDENCY: "dependency",
    kinds.RECORD_DECISION: "decision",
    kinds.CALL_CAPABILITY: "call",
    kinds.REDRIVE_CALL: "call",
    kinds.DISCARD_CALL: "call",
    kinds.START_ATTEMPT: "attempt",
    kinds.RECORD_ATTEMPT: "attempt",
    kinds.COMPLETE_CALL: "outcome",
    kinds.FAIL_CALL: "outcome",
    kinds.RECORD_STEP: "effect",
    kinds.SETTLE_STEP: "effect",
    kinds.REGISTER_AGENT: "registration",
    kinds.REMOVE_AGENT: "registration",
    kinds.TIMER_FIRED: "timer",
    kinds.APPLY_CONTRACT: "contract",
    kinds.REMOVE_CONTRACT: "contract",
    kinds.ISSUE_KEY: "key",
    kinds.REVOKE_KEY: "key",
    kinds.REQUIRE_IDENTITY: "key",
    kinds.OPEN_BREAKER: "breaker",
    kinds.PROBE_BREAKER: "breaker",
    kinds.CLOSE_BREAKER: "breaker",
    kinds.SKIP_RECORD: "skip",
    kinds.GRANT_RIGHTS: "grant",
    kinds.REQUIRE_GRANTS: "grant",
}
"""Every kind of command, and the field of Command that holds its body."""

ABOUT_NO_RUN: Final = frozenset(
    {
        kinds.REGISTER_AGENT,
        kinds.REMOVE_AGENT,
        kinds.APPLY_CONTRACT,
        kinds.REMOVE_CONTRACT,
        kinds.ISSUE_KEY,
        kinds.REVOKE_KEY,
        kinds.REQUIRE_IDENTITY,
        kinds.SKIP_RECORD,
        kinds.GRANT_RIGHTS,
        kinds.REQUIRE_GRANTS,
    }
)
"""Kinds that are about no run; their run_id is empty."""
