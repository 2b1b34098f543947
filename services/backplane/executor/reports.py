"""The commands the executor sends about a call: attempts and the outcome, with ids derived from the call's. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from agents_sdk.core import ids, kinds
from agents_sdk.core.commands import AttemptBody, BreakerBody, Command, OutcomeBody
from agents_sdk.core.facts import CallEvent
from agents_sdk.core.identity import EXECUTOR
from agents_sdk.core.ids import CommandId, RunId
from agents_sdk.core.kinds import CommandKind
from agents_sdk.core.ledger.breakers import PREFIX
from backplane.manifests.model import Provider
from backplane.recovery.decide import Route
from backplane.recovery.outcome import AttemptOutcome, Failure
from backplane.recovery.pricing import charge

"""The agent name that attempts and outcomes are sent under; the ledger takes them from no other."""
RECORDED: Final = (
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "input_audio_tokens",
    "reasoning_tokens",
    "output_audio_tokens",
    "tier",
)
"""The part of an attempt's usage that its fact has."""
MESSAGE_LIMIT: Final = 2_000
"""Characters; the facts' limit."""
SAID_BY_LIMIT: Final = 200
"""Characters."""


class ClaimOf(NamedTuple):
    """The claim of an attempt by an incarnation of an executor."""

    number: int
    """Of the claim on its call; claims are numbered apart from attempts."""
    assignment: int
    """Of partitions to this executor, from 1."""
    started_at: int
    """By the executor's clock, microseconds UTC."""
    lease_ms: int
    """From the grant on; after it nobody is in the middle of the attempt, neither here nor at its provider."""


def started(
    fact: CallEvent, claim: ClaimOf, route: Route, *, executor: str, reply_to: str, reply_partition: int
) -> Command:
    """StartAttempt: the claim before an unsafe effect, numbered by itself. Its id names the incarnation (executor and
    assignment). Repeated by the same one it has the same answer; by any other it is another command, and refused."""
    return Command(
        command_id=CommandId(ids.derive(fact.call_id, f"start/{claim.number}/{executor}/{claim.assignment}")),
        kind=kinds.START_ATTEMPT,
        run_id=fact.run_id,
        agent=EXECUTOR,
        correlation_id=fact.correlation_id,
        causation_id=fact.event_id,
        reply_to=reply_to,
        reply_partition=reply_partition,
        attempt=AttemptBody(
            call_id=fact.call_id,
            attempt=claim.number,
            capability=route.capability,
            provider=route.provider,
            executor=executor,
            started_at=claim.started_at,
            assignment=claim.assignment,
            lease_ms=claim.lease_ms,
        ),
    )


def attempted(
    fact: CallEvent,
    number: int,
    capability: str,
    provider: Provider,
    outcome: AttemptOutcome,
    *,
    executor: str,
    started_at: int,
    latency_us: int,
    manifest_version: int = 0,
    claim: tuple[int, int] = (0, 0),
) -> Command:
    """RecordAttempt: what one provider did, took and cost; ``claim`` is the assignment and token it was made under."""
    failure = outcome if isinstance(outcome, Failure) else None
    cost = charge(provider.price, outcome)
    return _command(
        fact,
        kinds.RECORD_ATTEMPT,
        f"attempt/{number}",
        attempt=AttemptBody(
            call_id=fact.call_id,
            attempt=number,
            capability=capability,
            provider=provider.name,
            model=outcome.model,
            prompt_version="" if isinstance(outcome, Failure) else outcome.prompt_version,
            **{name: getattr(outcome.usage, name) for name in RECORDED},
            cost_nano_usd=cost.nano_usd,
            price_id=cost.price_id,
            latency_us=latency_us,
            started_at=started_at,
            error_class=failure.error_class if failure else "",
            error_message=failure.message[:MESSAGE_LIMIT] if failure else "",
            executor=executor,
            manifest_version=manifest_version,
            assignment=claim[0],
            fencing_token=claim[1],
        ),
    )


def breaker(
    fact: CallEvent, kind: CommandKind, key: str, *, caused_by: Sequence[str] = (), executor: str, **limits: int
) -> Command:
    """OpenBreaker, ProbeBreaker or CloseBreaker; ``limits`` are open_ms or probe_ms."""
    capability, provider, error_class = key.removeprefix(PREFIX).split("/")
    return Command(
        command_id=CommandId(ids.derive(fact.call_id, f"{kind}/{key}/{executor}/{','.join(caused_by)}")),
        kind=kind,
        run_id=RunId(key),  # a breaker has a partition as a run has
        agent=EXECUTOR,
        correlation_id=fact.correlation_id,
        causation_id=fact.event_id,
        breaker=BreakerBody(
            capability=capability,
            provider=provider,
            error_class=error_class,
            caused_by=list(caused_by),
            executor=executor,
            **limits,
        ),
    )


def completed(
    fact: CallEvent,
    result: str,
    *,
    provider: str,
    attempts: int,
    cost: int,
    latency_us: int,
    degraded: bool = False,
    cached: bool = False,
    error_class: str = "",
    code: str = "",
    message: str = "",
    said: str = "",
    said_by: str = "",
    report: str = "",
    manifest_version: int = 0,
    token: int = 0,
) -> Command:
    """CompleteCall; ``result`` is canonical JSON. Where it is degraded the error is what it stands in for."""
    body = OutcomeBody(
        call_id=fact.call_id,
        result=result,
        provider=provider,
        degraded=degraded,
        cached=cached,
        attempts=attempts,
        cost_nano_usd=cost,
        latency_us=latency_us,
        error_class=error_class,
        error_code=code,
        error_message=message[:MESSAGE_LIMIT],
        said=said[:MESSAGE_LIMIT],
        said_by=said_by[:SAID_BY_LIMIT],
        report=report,
        manifest_version=manifest_version,
        fencing_token=token,
    )
    return _outcome(fact, kinds.COMPLETE_CALL, body)


def failed(
    fact: CallEvent,
    *,
    error_class: str,
    code: str,
    message: str,
    said: str = "",
    said_by: str = "",
    provider: str = "",
    attempts: int = 0,
    cost: int = 0,
    latency_us: int = 0,
    asked: int = 0,
    report: str = "",
    manifest_version: int = 0,
    token: int = 0,
) -> Command:
    """FailCall; ``asked`` is what it could not pay for. Without a ``report`` it is the caller's own mistake, and nobody
    else hears of it."""
    body = OutcomeBody(
        call_id=fact.call_id,
        provider=provider,
        attempts=attempts,
        cost_nano_usd=cost,
        latency_us=latency_us,
        error_class=error_class,
        error_code=code,
        error_message=message[:MESSAGE_LIMIT],
        said=said[:MESSAGE_LIMIT],
        said_by=said_by[:SAID_BY_LIMIT],
        asked_nano_usd=asked,
        report=report,
        manifest_version=manifest_version,
        fencing_token=token,
    )
    return _outcome(fact, kinds.FAIL_CALL, body)


def together(reports: Sequence[Command], outcome: Command) -> list[Command]:
    """The remaining report about a call, its last attempt in one command with its outcome."""
    if not reports:
        return [outcome]
    return [*reports[:-1], msgspec.structs.replace(outcome, attempt=reports[-1].attempt)]


def _outcome(fact: CallEvent, kind: CommandKind, body: OutcomeBody) -> Command:
    return _command(fact, kind, "outcome", outcome=body)


def _command(fact: CallEvent, kind: CommandKind, name: str, **body: AttemptBody | OutcomeBody) -> Command:
    """A report about a call, under an id that derives from the call's."""
    return Command(
        command_id=CommandId(ids.derive(fact.call_id, name)),
        kind=kind,
        run_id=fact.run_id,
        agent=EXECUTOR,
        correlation_id=fact.correlation_id,
        causation_id=fact.event_id,
        **body,  # type: ignore[arg-type]  # each under the name of its field
    )
