"""Every kind of command and of fact, once: the words that say what is asked for, and what happened.

In the log kinds are plain strings, and a later version may have others: so a record's ``kind`` is ``str``. Code that
writes one names it as a ``CommandKind`` or a ``FactKind``, which mypy checks. These are constants, since a comparison
with a member of an enum takes twice as long.
tests/architecture/test_kinds.py holds them equal to the schemas, and finds bare kinds elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias, get_args

# Commands, by the body they have.

# run
START_RUN: Final = "StartRun"
COMPLETE_RUN: Final = "CompleteRun"
FAIL_RUN: Final = "FailRun"
CANCEL_RUN: Final = "CancelRun"
AWAIT_RUN: Final = "AwaitRun"
START_CHILD: Final = "StartChild"
AWAIT_CHILD: Final = "AwaitChild"
CANCEL_CHILD: Final = "CancelChild"
REPORT_CHILD: Final = "ReportChild"
RESUME_RUN: Final = "ResumeRun"
# state
SET_STATE: Final = "SetState"
GET_STATE: Final = "GetState"
GET_STATES: Final = "GetStates"
DELETE_STATE: Final = "DeleteState"
LIST_STATE: Final = "ListState"
GET_HISTORY: Final = "GetHistory"
RESTORE_STATE: Final = "RestoreState"
# message
PUBLISH: Final = "Publish"
SEND_MESSAGE: Final = "SendMessage"
ASK: Final = "Ask"
WITHDRAW_REQUEST: Final = "WithdrawRequest"
REDRIVE: Final = "Redrive"
RESEND: Final = "Resend"
DISCARD: Final = "Discard"
# handler
COMPLETE_HANDLER: Final = "CompleteHandler"
FAIL_HANDLER: Final = "FailHandler"
START_HANDLER: Final = "StartHandler"
# dependency
DECLARE_DEPENDENCY: Final = "DeclareDependency"
# decision
RECORD_DECISION: Final = "RecordDecision"
# call
CALL_CAPABILITY: Final = "CallCapability"
REDRIVE_CALL: Final = "RedriveCall"
DISCARD_CALL: Final = "DiscardCall"
# attempt
START_ATTEMPT: Final = "StartAttempt"
RECORD_ATTEMPT: Final = "RecordAttempt"
# outcome
COMPLETE_CALL: Final = "CompleteCall"
FAIL_CALL: Final = "FailCall"
# effect
RECORD_STEP: Final = "RecordStep"
SETTLE_STEP: Final = "SettleStep"
# registration
REGISTER_AGENT: Final = "RegisterAgent"
REMOVE_AGENT: Final = "RemoveAgent"
# timer
TIMER_FIRED: Final = "TimerFired"
# contract
APPLY_CONTRACT: Final = "ApplyContract"
REMOVE_CONTRACT: Final = "RemoveContract"
# key
ISSUE_KEY: Final = "IssueKey"
REVOKE_KEY: Final = "RevokeKey"
REQUIRE_IDENTITY: Final = "RequireIdentity"
# breaker
OPEN_BREAKER: Final = "OpenBreaker"
PROBE_BREAKER: Final = "ProbeBreaker"
CLOSE_BREAKER: Final = "CloseBreaker"
# skip
SKIP_RECORD: Final = "SkipRecord"
# grant
GRANT_RIGHTS: Final = "GrantRights"
REQUIRE_GRANTS: Final = "RequireGrants"

CommandKind: TypeAlias = Literal[
    "StartRun",
    "CompleteRun",
    "FailRun",
    "CancelRun",
    "AwaitRun",
    "StartChild",
    "AwaitChild",
    "CancelChild",
    "ReportChild",
    "SetState",
    "GetState",
    "GetStates",
    "DeleteState",
    "ListState",
    "GetHistory",
    "Publish",
    "SendMessage",
    "CompleteHandler",
    "FailHandler",
    "DeclareDependency",
    "RecordDecision",
    "CallCapability",
    "StartAttempt",
    "RecordAttempt",
    "CompleteCall",
    "FailCall",
    "RegisterAgent",
    "RemoveAgent",
    "TimerFired",
    "ApplyContract",
    "IssueKey",
    "RevokeKey",
    "RequireIdentity",
    "Ask",
    "WithdrawRequest",
    "Redrive",
    "StartHandler",
    "RedriveCall",
    "OpenBreaker",
    "ProbeBreaker",
    "CloseBreaker",
    "ResumeRun",
    "RestoreState",
    "Resend",
    "Discard",
    "DiscardCall",
    "RemoveContract",
    "SkipRecord",
    "GrantRights",
    "RequireGrants",
    "RecordStep",
    "SettleStep",
]
COMMANDS: Final[tuple[CommandKind, ...]] = get_args(CommandKind)

# Facts, by their record.

# RunEvent
RUN_STARTED: Final = "RunStarted"
RUN_COMPLETED: Final = "RunCompleted"
RUN_FAILED: Final = "RunFailed"
RUN_CANCELLED: Final = "RunCancelled"
RUN_AWAITED: Final = "RunAwaited"
CHILD_STARTED: Final = "ChildStarted"
CHILD_AWAITED: Final = "ChildAwaited"
CHILD_CANCELLED: Final = "ChildCancelled"
CHILD_ORPHANED: Final = "ChildOrphaned"
CHILD_ENDED: Final = "ChildEnded"
RUN_RESUMED: Final = "RunResumed"
# StateEvent
STATE_WRITTEN: Final = "StateWritten"
STATE_DELETED: Final = "StateDeleted"
STATE_EXPIRED: Final = "StateExpired"
STATE_READ: Final = "StateRead"
STATE_LISTED: Final = "StateListed"
HISTORY_READ: Final = "HistoryRead"
# MessageEvent
MESSAGE_PUBLISHED: Final = "MessagePublished"
MESSAGE_SENT: Final = "MessageSent"
MESSAGE_DELIVERED: Final = "MessageDelivered"
HANDLER_COMPLETED: Final = "HandlerCompleted"
HANDLER_FAILED: Final = "HandlerFailed"
MESSAGE_DEAD_LETTERED: Final = "MessageDeadLettered"
DELIVERY_CANCELLED: Final = "DeliveryCancelled"
HANDLER_STARTED: Final = "HandlerStarted"
MESSAGE_REDRIVEN: Final = "MessageRedriven"
ESCALATION_RAISED: Final = "EscalationRaised"
REQUEST_SENT: Final = "RequestSent"
REQUEST_AWAITED: Final = "RequestAwaited"
REQUEST_WITHDRAWN: Final = "RequestWithdrawn"
REQUEST_ANSWERED: Final = "RequestAnswered"
REQUEST_FAILED: Final = "RequestFailed"
REQUEST_EXPIRED: Final = "RequestExpired"
REQUEST_CANCELLED: Final = "RequestCancelled"
MESSAGE_DISCARDED: Final = "MessageDiscarded"
MESSAGE_PARKED: Final = "MessageParked"
MESSAGE_CONTINUED: Final = "MessageContinued"
MESSAGE_RESTARTED: Final = "MessageRestarted"
# DependencyEvent
DEPENDENCY_DECLARED: Final = "DependencyDeclared"
DEPENDENCY_SATISFIED: Final = "DependencySatisfied"
DEPENDENCY_EXPIRED: Final = "DependencyExpired"
DEPENDENCY_CANCELLED: Final = "DependencyCancelled"
# DecisionEvent
DECISION_RECORDED: Final = "DecisionRecorded"
# CallEvent
CALL_REQUESTED: Final = "CallRequested"
CALL_COMPLETED: Final = "CallCompleted"
CALL_FAILED: Final = "CallFailed"
CALL_AWAITED: Final = "CallAwaited"
CALL_CANCELLED: Final = "CallCancelled"
CALL_REDRIVEN: Final = "CallRedriven"
CALL_DISCARDED: Final = "CallDiscarded"
# AttemptEvent
ATTEMPT_STARTED: Final = "AttemptStarted"
ATTEMPT_SUCCEEDED: Final = "AttemptSucceeded"
ATTEMPT_FAILED: Final = "AttemptFailed"
# BreakerEvent
BREAKER_OPENED: Final = "BreakerOpened"
BREAKER_PROBED: Final = "BreakerProbed"
BREAKER_CLOSED: Final = "BreakerClosed"
# AgentEvent
AGENT_REGISTERED: Final = "AgentRegistered"
AGENT_REMOVED: Final = "AgentRemoved"
AGENT_KEY_ISSUED: Final = "AgentKeyIssued"
AGENT_KEY_REVOKED: Final = "AgentKeyRevoked"
IDENTITY_REQUIRED: Final = "IdentityRequired"
RIGHTS_GRANTED: Final = "RightsGranted"
GRANTS_REQUIRED: Final = "GrantsRequired"
# ContractEvent
CONTRACT_APPLIED: Final = "ContractApplied"
CONTRACT_REMOVED: Final = "ContractRemoved"
# RefusalEvent
COMMAND_REFUSED: Final = "CommandRefused"

FactKind: TypeAlias = Literal[
    "RunStarted",
    "RunCompleted",
    "RunFailed",
    "RunCancelled",
    "RunAwaited",
    "ChildStarted",
    "ChildAwaited",
    "ChildCancelled",
    "ChildOrphaned",
    "ChildEnded",
    "RunResumed",
    "StateWritten",
    "StateDeleted",
    "StateExpired",
    "StateRead",
    "StateListed",
    "HistoryRead",
    "MessagePublished",
    "MessageSent",
    "MessageDelivered",
    "HandlerCompleted",
    "HandlerFailed",
    "MessageDeadLettered",
    "DeliveryCancelled",
    "HandlerStarted",
    "MessageRedriven",
    "EscalationRaised",
    "RequestSent",
    "RequestAwaited",
    "RequestWithdrawn",
    "RequestAnswered",
    "RequestFailed",
    "RequestExpired",
    "RequestCancelled",
    "MessageDiscarded",
    "MessageParked",
    "MessageContinued",
    "MessageRestarted",
    "DependencyDeclared",
    "DependencySatisfied",
    "DependencyExpired",
    "DependencyCancelled",
    "DecisionRecorded",
    "CallRequested",
    "CallCompleted",
    "CallFailed",
    "CallAwaited",
    "CallCancelled",
    "CallRedriven",
    "CallDiscarded",
    "AttemptStarted",
    "AttemptSucceeded",
    "AttemptFailed",
    "BreakerOpened",
    "BreakerProbed",
    "BreakerClosed",
    "AgentRegistered",
    "AgentRemoved",
    "AgentKeyIssued",
    "AgentKeyRevoked",
    "IdentityRequired",
    "RightsGranted",
    "GrantsRequired",
    "ContractApplied",
    "ContractRemoved",
    "CommandRefused",
]
FACTS: Final[tuple[FactKind, ...]] = get_args(FactKind)

# Groups.

RUN_ENDS: Final[Mapping[str, str]] = {RUN_COMPLETED: "completed", RUN_FAILED: "failed", RUN_CANCELLED: "cancelled"}
"""Kind that ends a run → the status of the run."""
STATE_WRITES: Final = (STATE_WRITTEN, STATE_DELETED, STATE_EXPIRED)
"""Each makes a version of a key."""
CALL_OUTCOMES: Final = (CALL_COMPLETED, CALL_FAILED)
"""Each is what an executor found."""
CALL_ENDS: Final = (*CALL_OUTCOMES, CALL_CANCELLED)
"""Each settles a call."""
ATTEMPT_OUTCOMES: Final = (ATTEMPT_SUCCEEDED, ATTEMPT_FAILED)
"""Each tells what a provider gave; cost is counted on these."""
HANDLER_OUTCOMES: Final = (HANDLER_COMPLETED, HANDLER_FAILED)
"""Each ends one attempt at a delivery."""
REQUEST_ENDS: Final = (REQUEST_ANSWERED, REQUEST_FAILED, REQUEST_EXPIRED)
"""Each ends a request, and its asker hears of it."""
MESSAGES_OUT: Final = (MESSAGE_PUBLISHED, MESSAGE_SENT)
"""Each is a message as its sender sent it; the deliveries follow."""
INBOX: Final = (MESSAGE_DELIVERED, DELIVERY_CANCELLED)
"""The records of an agent's inbox."""
LETTER_ENDS: Final = (MESSAGE_REDRIVEN, MESSAGE_DISCARDED, MESSAGE_CONTINUED, MESSAGE_RESTARTED)
"""Each uses the dead letter of a delivery up."""
CALL_LETTER_ENDS: Final = (CALL_REDRIVEN, CALL_DISCARDED)
"""Each uses the dead letter of a call up."""
BY_EXECUTOR: Final = (START_ATTEMPT, RECORD_ATTEMPT, COMPLETE_CALL, FAIL_CALL)
"""Commands of executors about calls."""
OF_BREAKERS: Final = (OPEN_BREAKER, PROBE_BREAKER, CLOSE_BREAKER)
"""Commands of executors about breakers."""
