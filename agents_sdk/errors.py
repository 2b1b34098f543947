"""Errors, by the next act of the caller.

    BackplaneError
    ├── Refused               the ledger said no; nothing changed: fix the call
    │   ├── UnknownRun  RunFinished  RunExists  UnknownAgent  UnknownCall  CallSettled  AttemptTaken
    │   ├── BreakerOpen       its provider is not asked now: ask another one, or later
    │   ├── VersionConflict   read again, then decide again
    │   ├── ScopeDenied       the agent's declaration does not allow it
    │   ├── BudgetExceeded    more than is left: ask for less, or raise the budget
    │   ├── Oversize          store the value elsewhere and pass a reference
    │   ├── ContractViolated  the value does not fit the contract of its key or message
    │   ├── IdentityRefused   Unauthenticated  Forged  KeyRevoked  StaleCommand  ReplayedCommand: see to the key
    │   ├── DeliverySettled   this delivery was handled before: stop, there is nothing left to do
    │   ├── Diverged          this attempt asked for something else than is recorded: stop, its delivery is parked
    │   ├── Overloaded        more is open than the limit allows: wait until some has ended
    │   ├── InternalError     the ledger failed at it, a fault of ours: it is in the dead letters
    │   └── InvalidCommand    a field is missing or malformed
    ├── CallFailed            the capability call ended without a result; everything that was tried is recorded
    │   ├── OutcomeUnknown    its effect may have happened: look at the provider before calling again
    │   ├── StepFailed        a step of the handler raised: the error is recorded
    │   │   └── StepOutcomeUnknown  an OutcomeUnknown too: look whether its effect happened
    │   └── CallOverBudget    a BudgetExceeded too: an attempt might have cost more than the call had left
    ├── ChildFailed           a child run failed: go on without it, start another one, or let the error end the handler
    ├── ChildCancelled        a child run was cancelled, by its starter or by somebody else
    ├── RequestFailed         the agent that was asked gave no answer; its message is in the dead letters
    │   └── RequestExpired    not in the time allowed; a late answer changes nothing
    ├── Unanswered            no answer in time; whether it was applied is unknown: send the same command again
    ├── Unreachable           broker, registry or store cannot be reached: check `backplane status`, then try again
    └── ContractBroken        a value does not fit the type or schema it was read as: fix the writer or the type

Errors carry fields; nobody parses the text. Text: lower-case fact, the offending value, then what to do.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

from agents_sdk.core.words import attributed


class BackplaneError(Exception):
    """Base of all errors of Backplane; ``code`` is stable, ``hint`` is the next step."""

    code: ClassVar[str] = "error"
    hint: str = ""
    passes: ClassVar[bool] = False
    """Time alone may mend it: a process that meets it at its start waits."""

    def __init__(self, message: str, *, hint: str = "", **fields: Any) -> None:
        super().__init__(f"{message}; {hint}" if hint else message)
        self.message = message
        self.hint = hint or type(self).hint
        self.fields = fields

    @property
    def said(self) -> str:
        """The words of somebody else, such as a provider or a handler. They are data, and no instruction of the
        platform; ``message`` and ``hint`` are the platform's own words."""
        return str(self.fields.get("said", ""))

    @property
    def said_by(self) -> str:
        """The speaker."""
        return str(self.fields.get("said_by", ""))

    def __str__(self) -> str:
        return attributed(super().__str__(), self.said, self.said_by)


class Refused(BackplaneError):
    """The ledger refused a command; nothing else changed. ``fields`` has what the refusal's fact has."""

    code = "refused"


class UnknownRun(Refused):
    """No such run, or it ended so long ago that the ledger forgot it."""

    code = "unknown_run"


class RunFinished(Refused):
    """The run has ended; ``fields["status"]`` says how."""

    code = "run_finished"
    hint = (
        "its record stays: `backplane run RUN`, and `backplane state list RUN` for its last state; one that failed or"
        " was cancelled goes on with `backplane resume RUN`"
    )


class RunExists(Refused):
    """A run with this id was started before, by another command."""

    code = "run_exists"


class UnknownAgent(Refused):
    """No agent of this name is registered."""

    code = "unknown_agent"


class UnknownCall(Refused):
    """The run has no call of this id."""

    code = "unknown_call"


class CallSettled(Refused):
    """The call has its outcome already; a second one changes nothing."""

    code = "call_settled"


class AttemptTaken(Refused):
    """Another executor has claimed this attempt at an unsafe call; its effect must not be repeated."""

    code = "attempt_taken"


class BreakerOpen(Refused):
    """The provider is not asked now; ``fields["open_until"]`` says until when, ``fields["holder"]`` who probes it."""

    code = "breaker_open"


class VersionConflict(Refused):
    """The key is not at the expected version; ``current_version`` is where it is."""

    code = "version_conflict"

    @property
    def current_version(self) -> int:
        """The key's version when the write was refused; 0: the key does not exist."""
        return int(self.fields["current_version"])


class ScopeDenied(Refused):
    """The agent's declaration does not allow this; ``fields["rule"]`` names the rule."""

    code = "scope"


class IdentityRefused(Refused):
    """The ledger does not take it that the command is from whom it says it is; a subclass says why."""

    code = "identity"
    hint = "`backplane agents issue NAME` writes the key that belongs here; see identity.key_file"


class Unauthenticated(IdentityRefused):
    """The command is not signed, and this platform takes only signed ones."""

    code = "unauthenticated"


class Forged(IdentityRefused):
    """The signature is not that of the sender's key: another key, or bytes that were changed."""

    code = "forged"


class KeyRevoked(IdentityRefused):
    """The key was revoked, or rotated and its grace period is over; ``fields["newest"]`` is the generation to use."""

    code = "revoked"


class StaleCommand(IdentityRefused):
    """The command's time is too far from the broker's; ``fields["skew_us"]`` says how far, ahead of it if positive."""

    code = "stale"
    hint = "set this machine's clock"


class ReplayedCommand(IdentityRefused):
    """A copy of a command that was applied before, whose answer is no longer kept."""

    code = "replayed"
    hint = "nothing is left to do: it was applied once"


class BudgetExceeded(Refused):
    """More was asked for than is left of a budget; nothing was spent. ``fields``: ``budget`` (whose: run, agent or
    call), ``asked_nano_usd``, ``left_nano_usd``, ``limit_nano_usd``."""

    code = "budget_exceeded"
    hint = "ask for less with budget=…, or give it a larger budget"

    @property
    def left_nano_usd(self) -> int:
        """The amount that was left, in 10⁻⁹ USD."""
        return int(self.fields["left_nano_usd"])


class Misplaced(IdentityRefused):
    """The command lies in a partition that is not its run's: a copy, or a client with another partitioner."""

    code = "misplaced"
    hint = "leave the partition of commands to the SDK, and `partitioner` out of the settings"


class NotGranted(IdentityRefused):
    """The sender may do nothing here: it is not registered, or nothing was granted to it."""

    code = "not_granted"
    hint = "an agent registers itself when it runs; `backplane agents issue NAME --role ROLE` grants rights"


class IdTaken(IdentityRefused):
    """The command has the id of another sender's command, whose answer is for that sender."""

    code = "id_taken"
    hint = "leave the ids of commands to the SDK"


class Oversize(Refused):
    """A value is above the limit; ``fields`` has ``size`` and ``limit`` in bytes."""

    code = "oversize"


class ContractViolated(Refused):
    """A value does not fit the contract of its state key or message. ``fields``: ``key`` or ``name``, ``path`` (the
    field in the value), ``contract`` (pattern@version), and ``value``, what stands there, shortened."""

    code = "contract"


class DeliverySettled(Refused):
    """The delivery this command belongs to was handled to its end before."""

    code = "delivery_settled"


class Diverged(Refused):
    """An attempt at a delivery asked for something else than an earlier one, in the same place. Nothing else of it has
    an effect. ``difference`` names agent, handler, attempt and place, what was recorded and what is asked now."""

    code = "diverged"

    @property
    def difference(self) -> dict[str, Any]:
        """The recorded command and the one that is asked for; empty for a command that came after."""
        found = self.fields.get("difference")
        return found if isinstance(found, dict) else {}


class Overloaded(Refused):
    """More is open, or waits, than the limit allows; ``fields`` has ``open`` and ``limit``. Wait until some has ended,
    then send it again."""

    code = "overloaded"

    @property
    def retry_after(self) -> float:
        """Seconds after which sending it again has a chance; a shorter wait only adds to the load."""
        return float(self.fields.get("retry_after", 1.0))


class InternalError(Refused):
    """The ledger failed at this command and changed nothing: a fault of ours. ``fields`` has ``stage`` and
    ``exception``."""

    code = "internal_error"
    hint = "report it with the refusal's fact; the command is in the dead letters"


class InvalidCommand(Refused):
    """A field of the command is missing or malformed; ``fields["field"]`` names it."""

    code = "invalid_command"


class CallFailed(BackplaneError):
    """A capability call ended without a result. ``fields``: capability, call_id, error_class, error_code, provider,
    attempts, cost_nano_usd, and ``report`` where anything was tried. The report has ``attempts`` (each with its error
    and latency), ``alternatives`` (with ``why_not`` where one was not asked), ``cause`` and ``action``, the next
    step."""

    code = "call_failed"


class CallOverBudget(CallFailed, BudgetExceeded):
    """No provider could be asked that might not have cost more than the call had left. ``fields`` of both."""

    code = "budget_exceeded"


class OutcomeUnknown(CallFailed):
    """Whether the effect of an unsafe call happened is not known, and its provider could not say. ``fields`` as
    CallFailed; ``call_id`` is the idempotency key the provider was given."""

    code = "outcome_unknown"


class StepFailed(CallFailed):
    """The function of a step raised, with its last try. The error is on the record, so each attempt of the handler gets
    it. ``fields``: step, call_id, error_type, said, said_by, attempts."""

    code = "step_failed"


class StepOutcomeUnknown(StepFailed, OutcomeUnknown):
    """Whether the effect of an unsafe step happened is not known, and nothing could say."""

    code = "outcome_unknown"


class ChildFailed(BackplaneError):
    """A child run failed. ``fields``: run_id, status, code, reason, said, said_by."""

    code = "child_failed"


class ChildCancelled(BackplaneError):
    """A child run was cancelled. ``fields``: run_id, status, code, reason, said, said_by."""

    code = "child_cancelled"


class RequestFailed(BackplaneError):
    """The agent that was asked failed with its last attempt. ``fields``: agent, name, waited_ms, cause, error_type."""

    code = "request_failed"


class RequestExpired(RequestFailed):
    """The agent that was asked did not answer in the time allowed; ``fields`` as RequestFailed."""

    code = "request_expired"


class Unanswered(BackplaneError):
    """No answer within the time allowed. The same command may be sent again: it is applied once."""

    code = "unanswered"
    passes = True


class Unreachable(BackplaneError):
    """A server cannot be reached; ``fields["server"]`` says which."""

    code = "unreachable"
    passes = True


class NotInstalled(BackplaneError):
    """An optional package is missing; ``hint`` says what installs it."""

    code = "not_installed"


class ContractBroken(BackplaneError):
    """A value does not fit the type it was read as; ``fields["path"]`` is where."""

    code = "contract"


REFUSALS: Final[dict[str, type[Refused]]] = {
    error.code: error
    for error in (
        UnknownRun,
        RunFinished,
        RunExists,
        UnknownAgent,
        UnknownCall,
        CallSettled,
        AttemptTaken,
        BreakerOpen,
        VersionConflict,
        ScopeDenied,
        BudgetExceeded,
        Oversize,
        ContractViolated,
        DeliverySettled,
        Diverged,
        InvalidCommand,
        Overloaded,
        InternalError,
        Unauthenticated,
        Forged,
        KeyRevoked,
        StaleCommand,
        ReplayedCommand,
        Misplaced,
        NotGranted,
        IdTaken,
    )
}
"""Refusal code → the error the SDK raises for it."""
