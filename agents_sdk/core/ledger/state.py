"""The ledger's knowledge, as values: the runs of one partition, folded from facts.

Lives here: shapes, and questions about them that change nothing. Not here: decisions (``decide``), the fold
(``evolve``), clocks, ids, I/O. Structs, so that a snapshot is one msgpack encoding and comes back typed.
"""

# long because: the shapes of one book, which are read together

from __future__ import annotations

from bisect import bisect_right

import msgspec

from agents_sdk.core import ids
from agents_sdk.core.identity import reserved
from agents_sdk.core.ids import CallId, CommandId, DeliveryId, RunId

HISTORY_LIMIT = 1000
"""Versions of a key kept for reads as of a version while the run lives; older ones are in bp.state and ClickHouse."""
HISTORY_CHARS = 8_388_608
"""Characters of a key's kept versions together but for the newest, in runs by rules 2 and later. A thousand versions of
a megabyte each are more than a ledger has."""
RECENT_LIMIT = 16_384
"""Answers kept per run for commands outside a handler. A client that repeats a command later than that many others is
answered as if it were new. The SDK lets a process have 256 under way, so that 64 may be busy in a run. Answers to a
handler's commands are kept until its delivery is settled."""
LARGE_RECENT_LIMIT = 1_024
"""Of these, those that may be lists and histories of more than ``LARGE_ANSWER`` characters: reads may be read again."""
LARGE_ANSWER = 16_384
FORGOTTEN_TOGETHER = 256
"""Which part of them is forgotten at a time."""
DEAD_LIMIT = 1_000
"""Dead letters of a run kept with their bodies for a redrive; older ones are in the dead-letter topic."""
FINISHED_LIMIT = 20_000
"""Ended runs a partition remembers the outcome of (about 1 kB each, and 100 bytes an attempt). A late command still
gets ``run_finished`` and a late client the result, without growing for ever."""


class Version(msgspec.Struct, gc=False):
    """One version of a state key; ``value`` is canonical JSON, empty where the key was deleted."""

    version: int
    value: str
    value_hash: str
    agent: str
    at: int
    event_id: str

    @property
    def deleted(self) -> bool:
        return not self.value


class Answer(msgspec.Struct, gc=False):
    """The answer to the sender of a command; given again when the command comes again."""

    status: str = "ok"
    version: int = 0
    value: str = ""
    event_id: str = ""
    run_seq: int = 0
    code: str = ""
    message: str = ""
    detail: str = ""
    agent: str = ""
    """The sender of the command, which alone gets the answer; empty: not known, of a snapshot from before."""
    fingerprint: str = ""
    """Of the command, where a handler sent it: see ``fingerprints``."""


class Delivery(msgspec.Struct, gc=False):
    """A message in an agent's inbox that has not been handled to its end."""

    recipient: str
    name: str
    message_id: str
    sender: str
    data: str
    attempt: int
    events: list[str]
    """Event ids of its MessageDelivered facts, one an attempt."""
    deadline_at: int = 0
    request_id: CommandId = CommandId("")
    """The sender waits for the return value of its handler."""
    at: int = 0
    """When the attempt was put in the inbox."""
    not_before: int = 0
    """When it is to be made, microseconds UTC; 0: at once."""
    seq: int = 0
    """Of the fact that put it there."""
    parked: str = ""
    """How an attempt diverged, as JSON; it waits for a decision. Empty: it does not."""
    superseded: list[str] = []
    """Those of ``events`` whose attempts have no further effect: a divergence ended them."""
    restarts: int = 0
    """How often it began from nothing again."""
    first_at: int = 0
    """When its first attempt was put in the inbox; 0: this is the first."""


class Request(msgspec.Struct, gc=False):
    """A message whose sender waits for the answer; by the id of the command that asked."""

    asker: str
    recipient: str
    name: str
    asked_in: DeliveryId
    """The delivery whose handler waits; empty for a client."""
    asked_at: int
    deadline_at: int
    """0: none."""
    reply_to: str
    reply_partition: int
    withdrawn: bool = False
    """Its asker waits no longer."""
    fingerprint: str = ""


class WaitingClient(msgspec.Struct, gc=False):
    """A client that waits for the end of the run."""

    reply_to: str
    reply_partition: int
    agent: str = ""


class Account(msgspec.Struct, gc=False):
    """Spent money, and money set aside for calls and children that are open; nano-USD. See ``budgets``."""

    spent: int = 0
    reserved: int = 0


class Call(msgspec.Struct, gc=False):
    """A capability call: asked for, perhaps settled."""

    capability: str
    reply_to: str
    reply_partition: int
    delivery_id: DeliveryId
    settled: bool = False
    started: dict[int, str] = {}
    """Attempts claimed by an executor (unsafe capabilities only): attempt → executor."""
    agent: str = ""
    """The asker."""
    budget: int = -1
    """The reservation for it, nano-USD; -1: it has no limit."""
    spent: int = 0
    claimed_at: dict[int, int] = {}
    """When, by that executor's clock, microseconds UTC."""
    claimed_for: dict[int, str] = {}
    """The provider that it was about to ask: ``capability/provider``."""
    params: str = ""
    config: str = ""
    timeout_ms: int = 0
    """The params; kept until there is a result."""
    redrives: int = 0
    """How often it was redriven before."""
    cause: str = ""
    """Of its failure."""
    local: str = ""
    """event_id of its intent where the caller's own process makes the attempts; empty: executors do."""
    attempts: int = 0
    """The highest number of an attempt that was recorded."""
    claimed_in: dict[int, int] = {}
    leased_until: dict[int, int] = {}
    fencing_token: int = 0
    """Of claims by executors that tell: assignment, end of the lease (broker's clock, µs UTC); and the newest token."""
    fingerprint: str = ""
    effect: str = ""
    """Of a handler's own step: safe or unsafe; see ``effects``."""


class Child(msgspec.Struct, gc=False):
    """A run that this one started."""

    workflow: str
    outcome: Answer | None = None
    """How it ended, as a waiter hears it; None while it goes on."""
    agent: str = ""
    """Its starter."""
    budget: int = -1
    """Its slice of this run's budget, nano-USD; -1: it has no limit."""


class ChildWait(msgspec.Struct, gc=False):
    """A waiter for the end of a child."""

    child_run_id: RunId
    delivery_id: DeliveryId
    reply_to: str
    reply_partition: int
    agent: str = ""
    fingerprint: str = ""


class Dependency(msgspec.Struct, gc=False):
    """An agent that waits for others; see ``dependencies``."""

    downstream: str
    depends_on: list[str]
    name: str
    trigger_when: str = "all_completed"
    count: int = 0
    closed: bool = False
    """It was met, or its deadline has passed."""
    agent: str = ""
    """Its author."""

    @property
    def needed(self) -> int:
        """How many of ``depends_on`` have to be met."""
        return {"any_completed": 1, "n_completed": self.count}.get(self.trigger_when, len(self.depends_on))


class Run(msgspec.Struct):
    """One live run: the fold of its facts."""

    run_id: RunId
    workflow: str
    correlation_id: str
    start_command: CommandId
    complete_when: str
    parent_run_id: RunId = RunId("")
    root_run_id: RunId = RunId("")
    rules: int = 0
    """Which version of the ledger's rules decides it; see ``rules.RULES``."""
    resuming: bool = False
    """The things that it takes over of the run before are not all there yet."""
    seq: int = 0
    state: dict[str, list[Version]] = {}
    history_chars: dict[str, int] = {}
    """Key → characters of its kept versions."""
    deliveries: dict[DeliveryId, Delivery] = {}
    attempts: dict[str, DeliveryId] = {}
    """Event id of each MessageDelivered of a pending delivery → that delivery."""
    settled: set[DeliveryId] = set()
    pending: dict[str, int] = {}
    """Agent → deliveries not handled yet."""
    completed: dict[str, str] = {}
    """Agent → event id of its latest HandlerCompleted."""
    dead: dict[DeliveryId, Delivery] = {}
    """Dead letters that may be redriven; the newest ``DEAD_LIMIT``."""
    redriven: dict[str, int] = {}
    """Message and recipient → how often it was redriven."""
    requests: dict[CommandId, Request] = {}
    """Those that wait for their answer."""
    dependencies: dict[str, Dependency] = {}
    awaited: dict[str, list[str]] = {}
    """Terms of open dependencies → those dependencies, in the order they were declared."""
    published: dict[str, str] = {}
    """Name of a message → event id of its first MessagePublished."""
    calls: dict[CallId, Call] = {}
    open_calls: int = 0
    failed_calls: dict[CallId, Call] = {}
    """Those that may be redriven; the newest ``DEAD_LIMIT``."""
    answers: dict[CommandId, Answer] = {}
    attempted: set[str] = set()
    """Call and number of each attempt that was recorded: see ``calls.attempt_key``."""
    issued: dict[DeliveryId, list[CommandId]] = {}
    """Delivery → commands of its handler whose answers are kept."""
    recent: list[CommandId] = []
    """Commands outside handlers whose answers are kept, oldest first."""
    waiting: dict[CommandId, WaitingClient] = {}
    """AwaitRun command → its waiter."""
    children: dict[RunId, Child] = {}
    open_children: int = 0
    child_waits: dict[CommandId, ChildWait] = {}
    """AwaitChild command → its waiter, while the child goes on."""
    timers: dict[str, int] = {}
    """Name → when it is due, microseconds UTC; see ``timers``."""
    budget: int = -1
    """Its budget with its children, nano-USD; -1: no limit."""
    account: Account = msgspec.field(default_factory=Account)
    """Of all agents together."""
    accounts: dict[str, Account] = {}
    """Of each agent, by who asked for a call or started a child."""
    started_by: str = ""
    files_of: dict[str, set[str]] = {}
    """SHA-256 of an artifact → agents that were given a reference to it: see ``references``."""
    files_in: dict[str, set[str]] = {}
    """SHA-256 of an artifact → state keys with a version that refers to it."""

    def answered_as(self, command_id: CommandId, sender: str) -> CommandId:
        """Under which name the answer to a command is remembered: its id. The ids of the platform's own commands follow
        from public knowledge. One that somebody else has used is remembered under a name of its own."""
        if reserved(sender) and self.sender_of(command_id) not in ("", sender):
            return CommandId(f"{command_id} of {sender}")
        return command_id

    def sender_of(self, command_id: CommandId) -> str:
        """The sender of the command of this id; empty where it is not known, or not remembered."""
        answer = self.answers.get(command_id)
        if answer is not None and answer.agent:
            return answer.agent
        call, request = self.calls.get(CallId(command_id)), self.requests.get(command_id)
        if call is not None:
            return call.agent
        if request is not None:
            return request.asker
        waits = self.waiting.get(command_id) or self.child_waits.get(command_id)
        return waits.agent if waits is not None else ""


class EndedRun(msgspec.Struct, gc=False):
    """The memory of an ended run."""

    status: str
    result: str
    reason: str
    state_hash: str
    event_id: str
    seq: int
    parent_run_id: RunId = RunId("")
    root_run_id: RunId = RunId("")
    answers: dict[CommandId, Answer] = {}
    """Of the commands that started and ended the run, whose senders may not have heard of it."""
    attempted: set[str] = set()
    workflow: str = ""
    started_by: str = ""
    code: str = ""
    said: str = ""
    said_by: str = ""

    def answer_to(self, command_id: CommandId, sender: str) -> Answer | None:
        """The answer that is remembered for the command. A part of the platform is not given another sender's:
        its ids can be computed, and so used, by others."""
        known = self.answers.get(command_id)
        if known is not None and reserved(sender) and known.agent not in ("", sender):
            return None
        return known


class AgentSpec(msgspec.Struct, frozen=True, gc=False):
    """An agent's registered declaration; the globs that each command of it is held against."""

    name: str
    subscriptions: tuple[str, ...]
    workflows: tuple[str, ...]
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    capabilities: tuple[str, ...]
    publishes: tuple[str, ...]
    max_deliveries: int
    supervisor: str
    handler_timeout_ms: int
    command_offset: int
    """Of its registration; an older one folded again does not replace it."""
    budget_nano_usd: int = -1
    """In one run; -1: no limit."""
    call_budgets: dict[str, int] = {}
    retries: dict[str, str] = {}
    """Handled message, or empty for all others → policy; see ``retry``."""
    at: int = 0
    starts: tuple[str, ...] = ()
    """Empty: all."""
    controls: tuple[str, ...] = ()
    """Empty: the workflows it takes part in."""
    on_divergence: str = ""
    """``park``, ``restart`` or ``fail``; empty: park. See ``divergence``."""


class Grant(msgspec.Struct, frozen=True, gc=False):
    """An operator's grant to a name; see ``rights``. An agent may do what it declares and was granted."""

    name: str
    roles: tuple[str, ...]
    subscriptions: tuple[str, ...]
    workflows: tuple[str, ...]
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    capabilities: tuple[str, ...]
    publishes: tuple[str, ...]
    starts: tuple[str, ...]
    controls: tuple[str, ...]
    supervisors: tuple[str, ...]
    contracts: tuple[str, ...]
    budget_nano_usd: int
    client: bool
    """It speaks without a declaration."""
    operator: str
    command_offset: int
    """Of the command that granted it; an older one folded again does not replace it."""


class Contract(msgspec.Struct, frozen=True, gc=False):
    """The rule for values of the state keys or messages that the glob matches; see ``contracts``."""

    pattern: str
    schema: str
    reducer: str
    ttl_ms: int
    version: int
    command_offset: int
    """Of its application; an older one folded again does not replace it."""


class KeyState(msgspec.Struct, frozen=True, gc=False):
    """Which keys of a name are valid. No key is here: see ``agents_sdk.wire.signature``."""

    generation: int = 1
    revoked: bool = False
    """The present generation is not valid either; the next one may be issued."""
    previous_ends_at: int = 0
    """Until when, microseconds UTC, the generation before is valid too."""
    command_offset: int = -1
    """Of the command that said so; an older fact folded again does not replace it."""


class Breaker(msgspec.Struct, frozen=True, gc=False):
    """A circuit breaker; see ``breakers``."""

    state: str = "closed"
    until: int = 0
    """Open: when a probe may be made; half-open: when the one under way is given up. Microseconds UTC."""
    opened: int = 0
    """Times in a row that it opened."""
    holder: str = ""
    """Half-open: whose probe it is."""
    command_offset: int = -1
    """Of the command that said so."""
    at: int = 0


class Limits(msgspec.Struct, frozen=True, gc=False):
    """Sizes above which a command is refused, bytes of UTF-8."""

    max_value_bytes: int = 1_048_576
    max_record_bytes: int = 3_900_000
    """Of one fact: what producers send (4,000,000 bytes) less its headers."""
    max_caused_bytes: int = 67_108_864
    """Of all facts that one command causes; most are written twice, the copy in an inbox."""


class PartitionState(msgspec.Struct):
    """All that the ledger knows of one partition: ``book = fold(evolve, facts)``."""

    limits: Limits = Limits()
    agents: dict[str, AgentSpec] = {}
    removed: dict[str, int] = {}
    """Agent → offset of the command that removed it; an older registration folded again does not bring it back."""
    contracts: dict[str, dict[str, Contract]] = {}
    """Target (state, message), with ``@workflow`` where only one is held to it → pattern → contract."""
    contract_removed_at: int = -1
    """Offset of the last command that removed a contract; an older one folded again does not bring it back."""
    runs: dict[RunId, Run] = {}
    finished: dict[RunId, EndedRun] = {}
    keys: dict[str, KeyState] = {}
    """Names whose key was issued or revoked; that of any other name is the first generation."""
    identity_required: bool = False
    """Every command has to be signed: the log said so."""
    refused: dict[str, int] = {}
    """Code → commands refused for want of identity, as of ``refused_at``, the offset of the last of them."""
    refused_at: int = -1
    breakers: dict[str, Breaker] = {}
    grants: dict[str, Grant] = {}
    rights_required: bool = False
    """Nothing is allowed that was not granted: the log said so."""
    policy: str = ""
    """Which declarations are granted without an operator; see ``rights``."""
    policy_at: int = -1
    """Offset of the command that said so."""
    spent: dict[int, dict[int, None]] = {}
    """Commands that must not be applied again though their answers are forgotten; see ``spent``."""
    applied: int = -1
    """Offset in bp.commands of the last command whose facts are folded in."""


def redriven_key(delivery: Delivery) -> str:
    """The key by which redrives are counted: a redriven message is a new delivery."""
    return f"{delivery.message_id}/{delivery.recipient}"


def current(run: Run, key: str) -> Version | None:
    """The newest version of a key, a deletion included; None where it was never written."""
    versions = run.state.get(key)
    return versions[-1] if versions else None


def at_version(run: Run, key: str, version: int) -> Version | None:
    """A given version of a key, or None where it never was or is no longer kept."""
    versions = run.state.get(key)
    if not versions:
        return None
    index = version - versions[0].version
    return versions[index] if 0 <= index < len(versions) else None


def at_time(run: Run, key: str, at: int) -> Version | None:
    """The version of a key that was current at a time (microseconds UTC), or None where it was not written yet.
    Raises LookupError where that version is no longer kept."""
    versions = run.state.get(key, [])
    index = bisect_right(versions, at, key=lambda version: version.at)
    if not index and versions and versions[0].version > 1:
        raise LookupError(key)
    return versions[index - 1] if index else None


def state_hash(run: Run) -> str:
    """SHA-256 (hex) over the canonical JSON of ``{key: [version, hash of the value]}``; deleted keys count with an
    empty hash. Two runs have the same hash exactly when their keys, versions and values are the same."""
    return ids.sha256(ids.canonical({key: [kept[-1].version, kept[-1].value_hash] for key, kept in run.state.items()}))


def work_done(run: Run, agent: str) -> bool:
    """The agent has completed its work in the run: a handler of it completed and none of its deliveries is pending."""
    return agent in run.completed and not run.pending.get(agent)
