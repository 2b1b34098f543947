"""One call from request to outcome."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from agents_sdk.core import ids
from agents_sdk.core.catalogue import Catalogue
from agents_sdk.core.facts import Reply
from agents_sdk.core.ids import CommandId
from agents_sdk.core.registry import Switch
from backplane.executor.ports import Clock
from backplane.executor.settle import SettledElsewhere
from backplane.manifests.registry import RegisteredCapability, Registry
from backplane.recovery.outcome import Answer, AttemptRequest, Failure, Usage
from tests.support.calls import Outbox, ScriptedProviders, capability, failure, registry, requested, settler


async def test_a_call_answered_at_once_sends_attempt_and_outcome_together() -> None:
    """A success is one command: the outcome, with the attempt that led to it; its id derives from the call."""
    outbox = Outbox()

    await settler(registry(capability()), ScriptedProviders(), outbox).settle(requested("c"))

    assert outbox.kinds() == ["CompleteCall"]
    (outcome,) = outbox.commands
    assert outcome.command_id == ids.derive("c", "outcome")
    assert outcome.attempt is not None
    assert (outcome.attempt.call_id, outcome.attempt.attempt, outcome.attempt.provider) == ("c", 1, "one")
    assert {command.agent for command in outbox.commands} == {"bp.executor"}
    assert {command.causation_id for command in outbox.commands} == {"event of c"}
    assert outbox.outcome().result == '{"from":"one"}'
    assert outbox.outcome().attempts == 1


async def test_costs_are_counted_on_attempts_and_summed_in_the_outcome() -> None:
    """Each attempt has its own price's cost and id; the outcome has their sum."""
    price = {"id": "list-1", "per_call_nano_usd": 7, "per_input_token_nano_usd": 2, "charge_failures": True}
    known = registry(capability(providers=[{"name": "one", "kind": "python", "function": "a:b", "price": price}]))
    outbox = Outbox()
    asking = ScriptedProviders(one=[failure(), Answer(result={}, usage=Usage(input_tokens=10))])

    await settler(known, asking, outbox).settle(requested("c"))

    attempts = [command.attempt for command in outbox.commands if command.attempt]
    assert [(attempt.cost_nano_usd, attempt.price_id) for attempt in attempts] == [(7, "list-1"), (27, "list-1")]
    assert outbox.outcome().cost_nano_usd == 34


async def test_an_unpriced_provider_is_not_a_free_one() -> None:
    """Without a price the attempt's price_id is empty."""
    outbox = Outbox()

    await settler(registry(capability()), ScriptedProviders(), outbox).settle(requested("c"))

    body = outbox.commands[0].attempt
    assert body is not None
    assert (body.price_id, body.cost_nano_usd) == ("", 0)


async def test_a_rate_limited_provider_is_left_for_the_next() -> None:
    """A Retry-After beyond patience means falling back at once; both attempts are told, numbered over all providers."""
    outbox = Outbox()
    asking = ScriptedProviders(one=[failure("rate_limited", retry_after=30.0)])

    await settler(registry(capability("one", "two")), asking, outbox).settle(requested("c"))

    attempts = [command.attempt for command in outbox.commands if command.attempt]
    assert [(body.provider, body.attempt, body.error_class) for body in attempts] == [
        ("one", 1, "rate_limited"),
        ("two", 2, ""),
    ]
    assert (outbox.outcome().provider, outbox.outcome().attempts) == ("two", 2)


async def test_transient_failures_are_retried_until_attempts_run_out() -> None:
    """Three attempts, then FailCall with the last class and the whole story."""
    outbox = Outbox()
    asking = ScriptedProviders(one=lambda _: failure("transient"))

    await settler(registry(capability()), asking, outbox).settle(requested("c"))

    assert asking.asked == ["one"] * 3
    assert outbox.outcome().error_code == "providers_exhausted"
    assert outbox.outcome().error_message == "every provider failed: one transient (3 times)"
    assert (outbox.outcome().said, outbox.outcome().said_by) == ("one transient: no luck (3 times)", "provider one")


async def test_a_failed_attempt_is_told_before_the_next_begins() -> None:
    """Whoever watches the log sees the failure while the fallback is still under way."""
    outbox = Outbox()
    asking = ScriptedProviders()

    def refuse(_: AttemptRequest) -> Failure:
        asking.gate.clear()  # the next one is held
        return failure("auth")

    asking.scripts["one"] = refuse
    running = asyncio.ensure_future(settler(registry(capability("one", "two")), asking, outbox).settle(requested("c")))

    await _until(lambda: asking.asked == ["one", "two"])
    assert outbox.kinds() == ["RecordAttempt"]

    asking.gate.set()
    await running


async def test_an_unknown_capability_fails_with_the_nearest_names() -> None:
    """The caller learns what it may have meant."""
    outbox = Outbox()

    await settler(registry(capability(name="web_search")), ScriptedProviders(), outbox).settle(
        requested("c", "web_serch")
    )

    assert outbox.kinds() == ["FailCall"]
    assert outbox.outcome().error_code == "unknown_capability"
    assert "'web_search'" in outbox.outcome().error_message


@pytest.mark.parametrize(
    ("params", "told"), [({"n": "many"}, "params.n: "), ({}, '"n" is a required property'), ([1], "params: ")]
)
async def test_params_that_break_the_schema_fail_without_an_attempt(params: object, told: str) -> None:
    """error_class invalid_request, the message begins with the path."""
    schema = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}
    outbox, asking = Outbox(), ScriptedProviders()
    fact = msgspec.structs.replace(requested("c"), params=ids.canonical(params))

    await settler(registry(capability(params=schema)), asking, outbox).settle(fact)

    assert asking.asked == []
    assert (outbox.outcome().error_class, outbox.outcome().error_code) == ("invalid_request", "invalid_params")
    assert told in outbox.outcome().error_message


async def test_params_that_are_no_json_fail() -> None:
    """Garbage in a fact ends as a failed call, not as a stuck one."""
    outbox = Outbox()

    await settler(registry(capability()), ScriptedProviders(), outbox).settle(
        msgspec.structs.replace(requested("c"), params="{")
    )

    assert outbox.outcome().error_code == "invalid_params"


async def test_defaults_of_the_schema_reach_the_provider() -> None:
    """A parameter that is not given has its declared default."""
    schema = {"type": "object", "properties": {"n": {"type": "integer", "default": 5}}}
    asking = ScriptedProviders(one=lambda request: Answer(result=dict(request.params)))
    outbox = Outbox()

    await settler(registry(capability(params=schema)), asking, outbox).settle(requested("c"))

    assert outbox.outcome().result == '{"n":5}'


async def test_a_result_that_breaks_its_schema_falls_back() -> None:
    """A provider that answers nonsense is as good as one that fails; what it used is still charged."""
    schema = {"type": "object", "required": ["hits"]}
    asking = ScriptedProviders(two=[Answer(result={"hits": []})])
    outbox = Outbox()

    await settler(registry(capability("one", "two", result=schema)), asking, outbox).settle(requested("c"))

    first = outbox.commands[0].attempt
    assert first is not None
    assert "result: " in first.error_message
    assert outbox.outcome().provider == "two"


async def test_a_result_above_the_limit_falls_back() -> None:
    """Nothing that the log refuses is sent to it."""
    asking = ScriptedProviders(one=[Answer(result={"text": "x" * 2_000})])
    outbox = Outbox()

    await settler(registry(capability("one", "two")), asking, outbox).settle(requested("c"))

    first = outbox.commands[0].attempt
    assert first is not None
    assert "2011 bytes" in first.error_message
    assert outbox.outcome().provider == "two"


async def test_a_result_that_json_cannot_say_costs_one_attempt() -> None:
    """A provider's bug ends in the story of the call."""
    outbox = Outbox()

    await settler(
        registry(capability("one", "two")), ScriptedProviders(one=[Answer(result={"f": object()})]), outbox
    ).settle(requested("c"))

    assert outbox.outcome().provider == "two"


async def test_a_degraded_result_is_marked_and_says_why() -> None:
    """When all fails the declared substitute is given, never silently."""
    known = registry(capability(degraded_result={"hits": []}))
    outbox = Outbox()

    await settler(known, ScriptedProviders(one=[failure("auth")]), outbox).settle(requested("c"))

    outcome = outbox.outcome()
    assert (outcome.result, outcome.degraded) == ('{"hits":[]}', True)
    assert (outcome.error_message, outcome.said) == ("every provider failed: one auth", "one auth: no luck")


async def test_an_unsafe_call_is_claimed_before_each_attempt() -> None:
    """Intent before effect, also for retries."""
    asking = ScriptedProviders(one=[failure("rate_limited"), Answer(result={})])
    outbox = Outbox()

    await settler(registry(capability(side_effects="unsafe")), asking, outbox).settle(requested("c"))

    assert outbox.claims == [("c", 1), ("c", 2)]
    assert outbox.outcome().attempts == 2


async def test_an_unsafe_call_of_unknown_outcome_is_not_tried_again() -> None:
    """A timeout after sending may have had its effect: neither retry nor fallback."""
    asking = ScriptedProviders(one=[failure("transient", uncertain=True)])
    outbox = Outbox()

    await settler(registry(capability("one", "two", side_effects="unsafe")), asking, outbox).settle(requested("c"))

    assert asking.asked == ["one"]
    assert (outbox.outcome().error_class, outbox.outcome().error_code) == ("unknown", "outcome_unknown")


async def test_an_unsafe_call_claimed_by_another_executor_is_not_made() -> None:
    """After a takeover nobody knows whether the effect happened: the call ends so, the provider is not asked."""
    asking, outbox = ScriptedProviders(), Outbox()
    outbox.answer = Reply(
        command_id=CommandId(""), reply_to="", status="refused", code="attempt_taken", message="by another"
    )

    await settler(registry(capability(side_effects="unsafe")), asking, outbox).settle(requested("c"))

    assert asking.asked == []
    assert outbox.kinds() == ["FailCall"]
    assert (outbox.outcome().error_code, outbox.outcome().attempts) == ("outcome_unknown", 0)


async def test_an_unsafe_call_that_is_settled_already_is_left_alone() -> None:
    """A claim refused because the call has its outcome sends nothing at all."""
    asking, outbox = ScriptedProviders(), Outbox()
    outbox.answer = Reply(command_id=CommandId(""), reply_to="", status="refused", code="call_settled", message="done")

    with pytest.raises(SettledElsewhere):
        await settler(registry(capability(side_effects="unsafe")), asking, outbox).settle(requested("c"))

    assert (asking.asked, outbox.commands) == ([], [])


async def test_the_callers_time_is_shared_by_all_attempts() -> None:
    """With 50 ms for the call, waits and attempts fit into 50 ms."""
    known = registry(capability(retry={"max_attempts": 20, "wait_initial_seconds": 0.02}))
    outbox = Outbox()

    await settler(known, ScriptedProviders(one=lambda _: failure()), outbox, clock=Patient()).settle(
        requested("c", timeout_ms=50)
    )

    assert outbox.outcome().error_code == "deadline_exceeded"
    assert outbox.outcome().attempts < 5
    assert "0.05 s" in outbox.outcome().error_message


async def test_without_a_ready_provider_the_call_says_what_is_missing() -> None:
    """A secret that is not set is named, not its value."""
    asking, outbox = ScriptedProviders(), Outbox()
    asking.skipped = (("one", "lacks $API_KEY"),)

    await settler(registry(capability()), asking, outbox).settle(requested("c"))

    assert outbox.outcome().error_code == "no_provider"
    assert "probe/one: it lacks $API_KEY" in outbox.outcome().error_message


async def test_what_a_call_asks_for_goes_over_what_the_capability_declares_field_by_field() -> None:
    """One attempt less and a substitute of the caller's own; the waits are still the capability's."""
    known = registry(capability(degraded_result={"hits": ["declared"]}))
    outbox, asking = Outbox(), ScriptedProviders(one=lambda _: failure())
    config = '{"degraded_result":{"hits":[]},"retry":{"max_attempts":2}}'

    await settler(known, asking, outbox).settle(requested("c", config=config))

    assert asking.asked == ["one"] * 2
    assert (outbox.outcome().result, outbox.outcome().degraded) == ('{"hits":[]}', True)


async def test_a_call_may_refuse_a_degraded_result() -> None:
    """null: rather no result than a substitute."""
    known = registry(capability(degraded_result={"hits": []}))
    outbox = Outbox()

    await settler(known, ScriptedProviders(one=[failure("auth")]), outbox).settle(
        requested("c", config='{"degraded_result":null}')
    )

    assert outbox.kinds() == ["FailCall"]


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ('{"degraded_result":{}}', "config.degraded_result: "),
        ('{"retry":{"max_attempts":0}}', "config.retry.max_attempts: "),
        ('{"retries":3}', "config.retries is no such field"),
        ("{", "config: "),
    ],
)
async def test_a_config_that_is_none_fails_without_an_attempt(config: str, told: str) -> None:
    """Whoever wrote it into the log, past the SDK's check: the caller is told which field."""
    known = registry(capability(result={"type": "object", "required": ["hits"]}))
    outbox, asking = Outbox(), ScriptedProviders()

    await settler(known, asking, outbox).settle(requested("c", config=config))

    assert asking.asked == []
    assert (outbox.outcome().error_class, outbox.outcome().error_code) == ("invalid_request", "invalid_config")
    assert told in outbox.outcome().error_message


class Patient(Clock):
    """Waits are never cut short by luck."""

    def jitter(self) -> float:
        return 0.999


async def _until(reached: object) -> None:
    assert callable(reached)
    async with asyncio.timeout(2):
        while not reached():
            await asyncio.sleep(0)


async def test_the_manifests_version_is_named_by_attempt_and_outcome_and_the_rank_is_the_calls_own() -> None:
    """Whoever reads the facts knows by which manifest; a call's config goes over the capability's rank."""
    outbox, asking = Outbox(), ScriptedProviders()
    one = settler(registry(capability(rank="fastest")), asking, outbox)

    await one.settle(requested("c"))
    await one.settle(requested("d", config='{"rank":"cheapest"}'))

    told = [body for each in outbox.commands for body in (each.attempt, each.outcome) if body]
    assert [body.manifest_version for body in told] == [7] * 4
    assert asking.ranks == ["fastest", "cheapest"]
    assert asking.observed == [("one", "Answer"), ("one", "Answer")]


async def test_a_disabled_capability_is_refused_with_the_reason() -> None:
    """No provider is asked."""
    catalogue = Catalogue()
    catalogue.take(Switch(target="probe", state="disabled", reason="too dear"), 0, 0.0)
    known = Registry([RegisteredCapability(capability(), "x.yaml", 7)], catalogue)
    outbox, asking = Outbox(), ScriptedProviders()

    await settler(known, asking, outbox).settle(requested("c"))

    assert (outbox.outcome().error_class, outbox.outcome().error_code) == ("outage", "disabled")
    assert (outbox.outcome().error_message, outbox.outcome().said) == ("'probe' is disabled", "too dear")
    assert asking.asked == []


@pytest.mark.parametrize(("assignment", "asked"), [(3, ["one"]), (2, [])])
async def test_a_claim_that_is_held_by_this_very_incarnation_is_its_own(assignment: int, asked: list[str]) -> None:
    """The grant was lost, and the ledger keeps no answers for ever. Another incarnation of this executor is another."""
    asking, outbox = ScriptedProviders(), Outbox()
    detail = f'{{"executor":"me","assignment":{assignment},"lease_us":0,"fencing_token":1}}'
    outbox.answer = Reply(command_id=CommandId(""), reply_to="", status="refused", code="attempt_taken", detail=detail)

    await settler(registry(capability(side_effects="unsafe")), asking, outbox).settle(requested("c"), assignment=3)

    assert asking.asked == asked
    assert outbox.outcome().fencing_token == len(asked)
