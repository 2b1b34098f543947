"""The tiers of recovery behind the retry: reconciling, fallback capabilities, and the report of a failure."""

from __future__ import annotations

import msgspec
import pytest

from agents_sdk.core import ids
from agents_sdk.core.facts import Reply
from agents_sdk.core.ids import CommandId
from backplane.executor.open_call import PriorAttempts
from backplane.executor.ports import Clock
from backplane.manifests.registry import Registry
from backplane.recovery.outcome import Answer, AttemptRequest, Reconciled
from tests.support.calls import Outbox, ScriptedProviders, capability, failure, registry, requested, settler


def _reconcilable(**fields: object) -> Registry:
    one = {"name": "one", "kind": "python", "function": "a:b", "reconcile": "a:c", "settle_seconds": 0.1, **fields}
    return registry(capability(side_effects="unsafe", providers=[one]))


async def test_a_provider_that_can_tell_settles_an_unsafe_attempt_of_unknown_outcome() -> None:
    """It happened: the call has its result, and nothing was done twice."""
    asking, outbox = ScriptedProviders(one=[failure("transient", uncertain=True)]), Outbox()
    asking.says = Reconciled("happened", Answer(result={"id": 7}))

    await settler(_reconcilable(), asking, outbox).settle(requested("c"))

    assert (asking.asked, asking.reconciled) == (["one"], [("one", 1)])
    assert outbox.outcome().result == '{"id":7}'
    assert msgspec.json.decode(outbox.outcome().report)["attempts"][0]["verdict"] == "happened"


async def test_an_unsafe_attempt_that_had_no_effect_is_made_again() -> None:
    """The provider says so; the next attempt is claimed like any other."""
    asking, outbox = ScriptedProviders(one=[failure("transient", uncertain=True), Answer(result={})]), Outbox()
    asking.says = Reconciled("not_happened")

    await settler(_reconcilable(), asking, outbox).settle(requested("c"))

    assert (asking.asked, outbox.claims) == (["one", "one"], [("c", 1), ("c", 2)])
    assert outbox.outcome().attempts == 2


async def test_what_a_dead_executor_claimed_is_settled_by_its_provider_and_paid() -> None:
    """The attempt was never told; whoever finds out that it happened tells it."""
    price = {"id": "list", "per_call_nano_usd": 7}
    asking, outbox = ScriptedProviders(), Outbox()
    outbox.answer = Reply(
        command_id=CommandId(""), reply_to="", status="refused", code="attempt_taken", message="by another"
    )
    asking.says = Reconciled("happened", Answer(result={"id": 7}))

    await settler(_reconcilable(price=price), asking, outbox).settle(requested("c"))

    assert asking.asked == []
    assert outbox.kinds() == ["CompleteCall"]
    assert outbox.commands[0].attempt is not None
    assert outbox.outcome().cost_nano_usd == 7


async def test_a_claim_is_settled_only_when_nobody_can_be_in_the_middle_of_it() -> None:
    """The executor that claimed it may be alive and slow, and the provider after it: both have to be done before it is
    asked."""
    asking, outbox = ScriptedProviders(), Outbox()
    claimed_at = Clock().now_us()
    outbox.answer = Reply(
        command_id=CommandId(""), reply_to="", status="refused", code="attempt_taken",
        detail=f'{{"executor":"other","started_at":{claimed_at}}}',
    )  # fmt: skip
    asking.says = Reconciled("happened", Answer(result={}))

    await settler(_reconcilable(timeout_seconds=0.1), asking, outbox).settle(requested("c"))

    assert asking.reconciled == [("one", 1)]
    assert Clock().now_us() >= claimed_at + 200_000


async def test_an_effect_whose_result_nobody_can_tell_fails_as_lost() -> None:
    """It is not repeated, and no result is made up for it."""
    asking, outbox = ScriptedProviders(one=[failure("transient", uncertain=True)]), Outbox()
    asking.says = Reconciled("happened")

    await settler(_reconcilable(), asking, outbox).settle(requested("c"))

    assert asking.asked == ["one"]
    assert (outbox.outcome().error_code, outbox.kinds()[-1]) == ("result_lost", "FailCall")


async def test_a_reconcile_that_raises_leaves_the_outcome_unknown() -> None:
    """A bug in a provider's reconcile must neither repeat an effect nor stop the call."""
    asking, outbox = ScriptedProviders(one=[failure("transient", uncertain=True)]), Outbox()

    async def broken(*_: object) -> Reconciled:
        raise RuntimeError("a bug")

    asking.reconcile = broken  # type: ignore[method-assign,assignment]

    await settler(_reconcilable(), asking, outbox).settle(requested("c"))

    assert outbox.outcome().error_code == "outcome_unknown"
    assert "a bug" in outbox.outcome().said


async def test_another_capability_helps_with_its_params_and_result_mapped() -> None:
    """Behind all own providers; the attempt is the other capability's, the result fits the one that was asked."""
    schema = {"type": "object", "required": ["hits"]}
    wants = {"type": "object", "required": ["q"], "properties": {"n": {"type": "integer", "default": 3}}}
    fallback = {"capability": "archive", "params": {"q": "${params.query}"}, "result": {"hits": "${result.found}"}}
    known = registry(
        capability("one", result=schema, fallback=[fallback]),
        capability("shelf", name="archive", params=wants, result={"type": "object", "required": ["found"]}),
    )
    asked: list[AttemptRequest] = []

    def shelf(request: AttemptRequest) -> Answer:
        asked.append(request)
        return Answer(result={"found": [1]})

    outbox = Outbox()

    await settler(known, ScriptedProviders(one=[failure("auth")], shelf=shelf), outbox).settle(
        requested("c", params={"query": "x"})
    )

    assert asked[0].params == {"q": "x", "n": 3}
    attempts = [command.attempt for command in outbox.commands if command.attempt]
    assert [(each.capability, each.provider) for each in attempts] == [("probe", "one"), ("archive", "shelf")]
    assert (outbox.outcome().result, outbox.outcome().provider) == ('{"hits":[1]}', "shelf")


@pytest.mark.parametrize(
    ("fallback", "why"),
    [
        ("archves", "did you mean 'archive'?"),
        (
            {"capability": "archive", "params": {"q": "${params.nothing}"}},
            "its params mapping breaks its schema: params: ",
        ),
        ({"capability": "archive", "params": {"q": "${length(params.nothing)}"}}, "length()"),
        ({"capability": "archive", "params": {"q": "${length(}"}}, "is no JMESPath"),
        ({"provider": "eleven"}, "no provider of this name"),
    ],
)
async def test_a_fallback_that_cannot_help_is_told_and_does_no_harm(fallback: object, why: str) -> None:
    """An unknown one, one whose params do not fit: the call fails of its own failure, and the report says the rest."""
    known = registry(
        capability("one"), capability("shelf", name="archive", params={"type": "object", "required": ["q"]})
    )
    outbox = Outbox()
    config = ids.canonical({"fallback": [fallback]})

    await settler(known, ScriptedProviders(one=[failure("auth")]), outbox).settle(requested("c", config=config))

    assert (outbox.outcome().error_class, outbox.outcome().error_code) == ("auth", "providers_exhausted")
    told = msgspec.json.decode(outbox.outcome().report)["alternatives"]
    assert told[0] == {"capability": "probe", "provider": "one", "asked": 1}
    assert why in told[1]["why_not"]


async def test_a_fallback_whose_result_does_not_fit_counts_as_a_failure() -> None:
    """What the caller gets is always a result of what it asked for, or none."""
    known = registry(
        capability("one", result={"type": "object", "required": ["hits"]}, fallback=["archive"]),
        capability("shelf", name="archive"),
    )
    outbox = Outbox()

    await settler(known, ScriptedProviders(one=[failure("auth")]), outbox).settle(requested("c"))

    assert outbox.kinds() == ["RecordAttempt", "FailCall"]
    assert '"hits" is a required property' in outbox.outcome().said


async def test_a_call_names_which_providers_follow_the_first() -> None:
    """In its order; those it does not name are not asked."""
    outbox, asking = Outbox(), ScriptedProviders(one=[failure("auth")], three=[failure("auth")])
    config = '{"fallback":[{"provider":"three"},{"provider":"two"}]}'

    await settler(registry(capability("one", "two", "three", "four")), asking, outbox).settle(
        requested("c", config=config)
    )

    assert asking.asked == ["one", "three", "two"]


async def test_an_unsafe_fallback_of_a_safe_call_is_claimed() -> None:
    """What counts is what is done, not what was asked for."""
    known = registry(capability("one", fallback=["order"]), capability("shop", name="order", side_effects="unsafe"))
    asking, outbox = ScriptedProviders(one=[failure("auth")]), Outbox()

    await settler(known, asking, outbox).settle(requested("c"))

    assert outbox.claims == [("c", 1)]


async def test_a_failed_call_tells_what_to_do_next() -> None:
    """Every attempt with its error and latency, every alternative, the cause and the action."""
    outbox = Outbox()
    asking = ScriptedProviders(one=[failure("auth", message="bad key")])
    asking.skipped = (("two", "lacks $API_KEY"),)

    await settler(registry(capability("one", "two")), asking, outbox).settle(requested("c"))

    told = msgspec.json.decode(outbox.outcome().report)
    latency = told["attempts"][0].pop("latency_ms")
    assert latency >= 0
    assert told == {
        "attempts": [
            {
                "attempt": 1, "capability": "probe", "provider": "one", "error_class": "auth", "code": "auth",
                "message": "bad key",
            }
        ],
        "alternatives": [
            {"capability": "probe", "provider": "one", "asked": 1},
            {"capability": "probe", "provider": "two", "asked": 0, "why_not": "it lacks $API_KEY"},
        ],
        "cause": "auth",
        "action": "renew the secret of one, then `backplane dlq redrive --cause auth`",
    }  # fmt: skip


async def test_a_call_that_just_goes_well_carries_no_report() -> None:
    """Nor does the caller's own mistake: nobody else has to be told."""
    outbox, mistaken = Outbox(), Outbox()

    await settler(registry(capability()), ScriptedProviders(), outbox).settle(requested("c"))
    await settler(registry(capability()), ScriptedProviders(), mistaken).settle(requested("c", "prob"))

    assert (outbox.outcome().report, mistaken.outcome().report) == ("", "")


async def test_whoever_takes_a_call_over_meets_the_claims_of_its_predecessor_wherever_they_were_made() -> None:
    """The dead one had come to the second provider: that one is asked what became of it, not the first, and whatever
    safe attempts come before them do not shift the numbers."""
    providers = [
        {"name": name, "kind": "python", "function": "a:b", "reconcile": "a:c", "settle_seconds": 0.0}
        for name in ("shop", "kiosk")
    ]
    known = registry(
        capability("one", fallback=["order"]),
        capability(name="order", side_effects="unsafe", providers=providers),
    )
    asking, outbox = ScriptedProviders(one=lambda _: failure("transient")), Outbox()
    outbox.answer = Reply(
        command_id=CommandId(""), reply_to="", status="refused", code="attempt_taken", detail='{"asked":"order/kiosk"}'
    )
    asking.says = Reconciled("happened", Answer(result={"id": 7}))

    await settler(known, asking, outbox).settle(requested("c"))

    assert asking.asked == ["one"] * 3
    assert (outbox.claims, [name for name, _ in asking.reconciled]) == ([("c", 1)], ["kiosk"])
    assert (outbox.outcome().result, outbox.outcome().provider) == ('{"id":7}', "kiosk")


async def test_a_claim_for_a_provider_that_is_no_more_ends_as_unknown() -> None:
    """Nobody is left to be asked, and another provider knows nothing of it."""
    asking, outbox = ScriptedProviders(), Outbox()
    outbox.answer = Reply(
        command_id=CommandId(""), reply_to="", status="refused", code="attempt_taken", detail='{"asked":"probe/gone"}'
    )

    await settler(_reconcilable(), asking, outbox).settle(requested("c"))

    assert (asking.asked, asking.reconciled) == ([], [])
    assert outbox.outcome().error_code == "outcome_unknown"


async def test_whoever_takes_a_call_over_numbers_its_attempts_on() -> None:
    """An attempt is known by its number: one with the number of a predecessor's would be taken for that, and neither
    be told nor paid."""
    outbox = Outbox()
    await settler(
        registry(capability(retry={"max_attempts": 3})), ScriptedProviders(one=[failure("outage")]), outbox
    ).settle(requested("c"), PriorAttempts(60, 2))
    assert [command.attempt.attempt for command in outbox.commands if command.attempt] == [3, 4]
