"""The facts: what happened, one class per fact topic, and the ledger's replies.

Field by field these are the Avro records of ``schemas/avro`` (their ``doc`` attributes explain each field; a test
proves the two equal). Not here: decisions, encoding, anything but shapes.
"""

from __future__ import annotations

from typing import Final

import msgspec

from agents_sdk.core.ids import CallId, CommandId, DeliveryId, RunId


class Fact(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The envelope that every fact carries."""

    event_id: str
    kind: str
    run_id: RunId
    run_seq: int
    correlation_id: str
    causation_id: str
    agent: str
    at: int
    command_id: CommandId
    command_offset: int
    parent_run_id: RunId = RunId("")
    root_run_id: RunId = RunId("")


class RunEvent(Fact, frozen=True, kw_only=True, gc=False):
    """A run began or ended, or one of its children did. Its kinds:

    - RunStarted, RunCompleted, RunFailed, RunCancelled.
    - RunAwaited: a client waits for the end.
    - RunResumed: all that a resumed run takes over is there.
    - ChildStarted, ChildAwaited.
    - ChildCancelled: the child has to end.
    - ChildOrphaned: its parent ended first, so the child has to end.
    - ChildEnded: with its outcome.
    """

    workflow: str = ""
    input: str = ""
    result: str = ""
    reason: str = ""
    state_hash: str = ""
    complete_when: str = ""
    reply_to: str = ""
    reply_partition: int = 0
    recipients: int = 0
    deadline_at: int = 0
    child_run_id: RunId = RunId("")
    status: str = ""
    budget_nano_usd: int = -1
    spent_nano_usd: int = 0
    reserved_nano_usd: int = 0
    rules: int = 0
    resumed_from: RunId = RunId("")
    completed: list[str] = msgspec.field(default_factory=list)
    published: list[str] = msgspec.field(default_factory=list)
    tags: list[str] = msgspec.field(default_factory=list)
    started_by: str = ""
    code: str = ""
    said: str = ""
    said_by: str = ""
    fingerprint: str = ""


class StateEvent(Fact, frozen=True, kw_only=True, gc=False):
    """A state key was written, deleted or read. Kinds: StateWritten, StateDeleted, StateExpired (its time to live is
    over), StateRead, StateListed (key is the prefix), HistoryRead."""

    key: str
    version: int = 0
    value: str = ""
    size: int = 0
    value_hash: str = ""
    guarded: bool = False
    expected_version: int = 0
    batch: int = 0
    reducer: str = ""
    operand: str = ""
    expires_at: int = 0
    fingerprint: str = ""


class MessageEvent(Fact, frozen=True, kw_only=True, gc=False):
    """A message moved. Its kinds:

    - MessagePublished: to all who subscribe. MessageSent: to one agent.
    - MessageDelivered: put in one agent's inbox; it is the record of bp.inbox.*.
    - HandlerStarted: with a timeout, or where another process may have begun.
    - HandlerCompleted, HandlerFailed.
    - MessageDeadLettered: no attempts are left, or it is too late.
    - DeliveryCancelled: its run ended first; it is a record of bp.inbox.* as well.
    - MessageRedriven: put in the inbox again. MessageDiscarded: an operator gave the dead letter up.
    - EscalationRaised: to the supervisor or the operator.
    - RequestSent: its sender waits for the answer. RequestAwaited: the asker asks again.
    - RequestWithdrawn: the asker waits no longer. RequestCancelled: its run ended first.
    - RequestAnswered, RequestFailed, RequestExpired.
    - MessageParked: an attempt asked for something else than is recorded.
    - MessageContinued, MessageRestarted: a new attempt goes on with what is recorded, or begins from nothing.
    """

    name: str
    message_id: str = ""
    delivery_id: DeliveryId = DeliveryId("")
    workflow: str = ""
    sender: str = ""
    recipient: str = ""
    data: str = ""
    attempt: int = 0
    recipients: int = 0
    error_type: str = ""
    error_message: str = ""
    deadline_at: int = 0
    cause: str = ""
    request_id: CommandId = CommandId("")
    result: str = ""
    reply_to: str = ""
    reply_partition: int = 0
    not_before: int = 0
    traceback: str = ""
    reason: str = ""
    origin: str = ""
    code: str = ""
    said: str = ""
    said_by: str = ""
    fingerprint: str = ""
    difference: str = ""
    restarts: int = 0
    rules: int = 0
    first_at: int = 0


class DependencyEvent(Fact, frozen=True, kw_only=True, gc=False):
    """An agent waits for others, for events or for state keys. Kinds: DependencyDeclared, DependencySatisfied,
    DependencyExpired (not met by its deadline), DependencyCancelled (its run ended first)."""

    dependency_id: str
    downstream: str
    depends_on: list[str] = msgspec.field(default_factory=list)
    trigger_when: str = ""
    name: str = ""
    satisfied_by: list[str] = msgspec.field(default_factory=list)
    count: int = 0
    deadline_at: int = 0
    fingerprint: str = ""


class CallEvent(Fact, frozen=True, kw_only=True, gc=False):
    """A capability call was asked for or settled. Its kinds:

    - CallRequested: the intent; it is committed before any provider is called.
    - CallCompleted, CallFailed.
    - CallAwaited: a restarted caller asks again for the answer.
    - CallCancelled: its run ended first.
    - CallRedriven: the failed call is made again. CallDiscarded: an operator gave it up.

    A step of a handler, which is the author's own effect, is a call too: ``effect`` is set, and no executor makes it.
    """

    call_id: CallId
    capability: str
    params: str = ""
    result: str = ""
    provider: str = ""
    degraded: bool = False
    attempts: int = 0
    cost_nano_usd: int = 0
    latency_us: int = 0
    error_class: str = ""
    error_code: str = ""
    error_message: str = ""
    reply_to: str = ""
    reply_partition: int = 0
    timeout_ms: int = 0
    config: str = ""
    budget_nano_usd: int = -1
    asked_nano_usd: int = 0
    cached: bool = False
    report: str = ""
    redrive_of: CallId = CallId("")
    redriven_as: CallId = CallId("")
    redrives: int = 0
    manifest_version: int = 0
    artifacts: list[str] = msgspec.field(default_factory=list)
    local: bool = False
    reason: str = ""
    said: str = ""
    said_by: str = ""
    fingerprint: str = ""
    effect: str = ""


class AttemptEvent(Fact, frozen=True, kw_only=True, gc=False):
    """One provider was tried once for one call: the leaf that cost is counted on. Kinds: AttemptStarted (only for
    unsafe capabilities: claims the call before the effect), AttemptSucceeded, AttemptFailed."""

    call_id: CallId
    attempt: int
    capability: str = ""
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


class BreakerEvent(Fact, frozen=True, kw_only=True, gc=False):
    """The circuit breaker of a provider changed, for one class of errors. Kinds: BreakerOpened (it is not asked until
    ``open_until``), BreakerProbed (half-open: one executor asks it once), BreakerClosed."""

    capability: str
    provider: str
    error_class: str
    caused_by: list[str] = msgspec.field(default_factory=list)
    open_until: int = 0
    opened: int = 0
    executor: str = ""


class DecisionEvent(Fact, frozen=True, kw_only=True, gc=False):
    """An agent said what it decided and why. Kind: DecisionRecorded."""

    action: str
    rationale: str = ""
    context_used: list[str] = msgspec.field(default_factory=list)
    fingerprint: str = ""


class RefusalEvent(Fact, frozen=True, kw_only=True, gc=False):
    """A command was refused; nothing else changed. Kind: CommandRefused."""

    command_kind: str
    code: str
    message: str = ""
    detail: str = ""
    said: str = ""
    said_by: str = ""
    fingerprint: str = ""


class AgentEvent(Fact, frozen=True, kw_only=True, gc=False):
    """An agent's declaration was registered in this partition, the agent was removed, its key was issued or revoked, or
    rights were granted to it. Or from here on every command has to be signed, or needs a right that was granted. Kinds:
    AgentRegistered, AgentRemoved, AgentKeyIssued, AgentKeyRevoked, IdentityRequired, RightsGranted, GrantsRequired."""

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
    key_generation: int = 0
    previous_ends_at: int = 0
    budget_nano_usd: int = -1
    call_budgets: dict[str, int] = msgspec.field(default_factory=dict)
    retries: dict[str, str] = msgspec.field(default_factory=dict)
    starts: list[str] = msgspec.field(default_factory=list)
    controls: list[str] = msgspec.field(default_factory=list)
    supervisors: list[str] = msgspec.field(default_factory=list)
    contracts: list[str] = msgspec.field(default_factory=list)
    roles: list[str] = msgspec.field(default_factory=list)
    client: bool = False
    policy: str = ""
    not_granted: list[str] = msgspec.field(default_factory=list)
    operator: str = ""
    on_divergence: str = ""


class ContractEvent(Fact, frozen=True, kw_only=True, gc=False):
    """A contract of state keys or of messages holds in this partition from here on, or no longer. Kinds:
    ContractApplied, ContractRemoved."""

    target: str
    pattern: str
    schema: str = ""
    reducer: str = ""
    contract_version: int = 0
    schema_id: int = 0
    ttl_ms: int = 0
    workflow: str = ""


EXECUTE_LOCALLY: Final = "yours"
"""Code of the answer to a local CallCapability: its sender is to make the attempts."""


class Reply(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The ledger's answer to the sender of one command."""

    command_id: CommandId
    reply_to: str
    run_id: RunId = RunId("")
    status: str
    version: int = 0
    value: str = ""
    event_id: str = ""
    run_seq: int = 0
    code: str = ""
    message: str = ""
    detail: str = ""
    issued_at: int = 0
    signature: bytes = b""
