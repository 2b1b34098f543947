"""The built-in manifests of real providers, against local servers that answer as the vendors' documentation says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agents_sdk.artifacts import ArtifactStore
from agents_sdk.core.ids import CallId, RunId
from backplane.manifests.model import HttpProvider
from backplane.manifests.registry import RegisteredCapability, Registry, load_registry
from backplane.providers.fleet import Fleet
from backplane.recovery.outcome import Answer, AttemptOutcome, AttemptRequest, Failure
from backplane.recovery.pricing import charge
from tests.support.http_server import Reply, Server, serving
from tests.support.vendors import VENDORS, Refusal, Vendor, png

PATIENCE = 30.0
CASES = pytest.mark.parametrize("vendor", VENDORS, ids=[vendor.provider for vendor in VENDORS])


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_registry()


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


def spec(registry: Registry, vendor: Vendor) -> tuple[RegisteredCapability, HttpProvider]:
    contract = registry.get(vendor.capability)
    [provider] = [each for each in contract.capability.providers if each.name == vendor.provider]
    assert isinstance(provider, HttpProvider)
    return contract, provider


async def ask(
    registry: Registry, vendor: Vendor, server: Server, data_dir: Path, *, timeout: float = PATIENCE
) -> AttemptOutcome:
    """One attempt at the vendor's provider; its polls do not wait for real."""
    contract, provider = spec(registry, vendor)
    if provider.poll is not None:
        poll = provider.poll.model_copy(update={"interval_seconds": 0.01})
        provider = provider.model_copy(update={"poll": poll})
    assert contract.check_params(vendor.params) is None
    request = AttemptRequest(
        call_id=CallId("call-1"),
        run_id=RunId("run-1"),
        agent="a",
        attempt=1,
        params=contract.with_defaults(vendor.params),
        timeout_seconds=timeout,
    )
    environment = {vendor.url_variable: server.url, vendor.key_variable: vendor.key, **vendor.environment}
    fleet = Fleet(data_dir, environment)
    try:
        return await fleet.attempt(contract, provider, request)
    finally:
        await fleet.close()


def failed(outcome: AttemptOutcome) -> Failure:
    assert isinstance(outcome, Failure), outcome
    return outcome


@CASES
async def test_a_good_answer_becomes_the_capabilitys_result(
    registry: Registry, server: Server, vendor: Vendor, tmp_path: Path
) -> None:
    """The request is what the API wants, the result what the capability promises, the cost what the vendor charges."""
    server.script = lambda asked: vendor.good(asked, server.url)
    outcome = await ask(registry, vendor, server, tmp_path)

    assert isinstance(outcome, Answer), outcome
    assert spec(registry, vendor)[0].check_result(outcome.result) is None
    vendor.expected(server.asked, outcome.result)
    header, value = vendor.proof
    assert server.asked[0].headers[header] == value
    assert (outcome.usage.input_tokens, outcome.usage.output_tokens, outcome.model) == (*vendor.tokens, vendor.model)
    cost = charge(spec(registry, vendor)[1].price, outcome)
    assert cost.price_id.startswith(vendor.price)
    assert (cost.nano_usd, bool(cost.price_id)) == (vendor.nano_usd, bool(vendor.price))


@pytest.mark.parametrize(
    ("vendor", "refusal"),
    [(vendor, refusal) for vendor in VENDORS for refusal in vendor.refusals],
    ids=[f"{vendor.provider}-{each.status}-{each.error_class}" for vendor in VENDORS for each in vendor.refusals],
)
async def test_a_documented_failure_has_its_class(
    registry: Registry, server: Server, vendor: Vendor, refusal: Refusal, tmp_path: Path
) -> None:
    """And the vendor's own words; the key is not among them."""
    server.replies(Reply(refusal.body, refusal.status))
    outcome = failed(await ask(registry, vendor, server, tmp_path))

    assert outcome.error_class == refusal.error_class, outcome
    assert refusal.words in outcome.message
    assert vendor.key not in outcome.message


@CASES
async def test_a_rate_limit_says_how_long_to_wait(
    registry: Registry, server: Server, vendor: Vendor, tmp_path: Path
) -> None:
    """By Retry-After, in seconds or as a date; nothing was done."""
    server.replies(
        Reply(vendor.limit.body, vendor.limit.status, {"retry-after": "7"}),
        Reply(vendor.limit.body, vendor.limit.status, {"retry-after": "Fri, 31 Dec 2999 23:59:59 GMT"}),
    )
    seconds = failed(await ask(registry, vendor, server, tmp_path))
    date = failed(await ask(registry, vendor, server, tmp_path))

    assert [each.error_class for each in (seconds, date)] == [vendor.limit.error_class] * 2
    assert vendor.limit.words in seconds.message
    assert (seconds.retry_after, seconds.uncertain) == (7.0, False)
    assert (date.retry_after or 0) > 1e9


@CASES
@pytest.mark.parametrize(
    ("reply", "error_class", "code"),
    [
        (Reply({"message": "boom"}, 500), "transient", "http_500"),
        (Reply(b"<html>bad gateway</html>", 502), "outage", "http_502"),
        (Reply(b'{"results": [{"title": "Kaf'), "transient", "malformed_response"),
        (
            Reply(b"<html>please log in</html>", headers={"content-type": "text/html"}),
            "transient",
            "malformed_response",
        ),
        (Reply(b""), "transient", "malformed_response"),
        (Reply(b'{"a": 1}', cut=100), "transient", "truncated_response"),
        (Reply(forever=b" " * 65_536), "unknown", "response_too_large"),
    ],
    ids=["500", "502", "malformed", "HTML", "nothing", "truncated", "for ever"],
)
async def test_a_bad_day_is_a_failure_that_may_have_had_its_effect(
    registry: Registry, server: Server, vendor: Vendor, reply: Reply, error_class: str, code: str, tmp_path: Path
) -> None:
    """Typed, never raised, and never a result."""
    server.replies(reply)
    outcome = failed(await ask(registry, vendor, server, tmp_path))

    assert (outcome.error_class, outcome.code) == (error_class, code)
    # a look-up comes first, and has no effect
    assert outcome.uncertain is (spec(registry, vendor)[1].lookup is None)


@CASES
async def test_an_answer_after_the_deadline_is_none(
    registry: Registry, server: Server, vendor: Vendor, tmp_path: Path
) -> None:
    """Slow is failed."""
    good = vendor.good
    server.script = lambda asked: Reply(**{**vars(good(asked, server.url)), "hold": True})
    outcome = failed(await ask(registry, vendor, server, tmp_path, timeout=1.0))

    assert (outcome.error_class, outcome.code) == ("transient", "timeout")


@CASES
async def test_an_answer_of_another_shape_is_no_result(
    registry: Registry, server: Server, vendor: Vendor, tmp_path: Path
) -> None:
    """JSON that the documentation does not know ends as a failure, or breaks the capability's contract."""
    server.replies(Reply({"unexpected": [1, 2, 3]}))
    contract, _ = spec(registry, vendor)
    outcome = await ask(registry, vendor, server, tmp_path, timeout=3.0)

    assert isinstance(outcome, Failure) or contract.check_result(outcome.result) is not None


def test_each_kind_of_work_has_two_real_providers(registry: Registry) -> None:
    """Which are asked once their key is set, and not before; none of the tests' environment has one."""
    from backplane.manifests.model import environment

    least = {"web_search": 2, "text_generation": 2, "image_generation": 2, "video_generation": 2, "content_publish": 1}
    for name, number in least.items():
        keyed = [
            each for each in registry.get(name).capability.providers if isinstance(each, HttpProvider) and each.auth
        ]
        assert len(keyed) >= number
        assert all(each.missing(environment(), Path("/nonexistent")) for each in keyed)
        assert all(each.price for each in keyed)


def test_every_vendor_of_the_manifests_is_tested(registry: Registry) -> None:
    """A new one comes with its documented answers."""
    keyed = {
        (contract.capability.name, provider.name)
        for contract in registry
        for provider in contract.capability.providers
        if isinstance(provider, HttpProvider) and provider.auth
    }

    assert keyed == {(vendor.capability, vendor.provider) for vendor in VENDORS}


def test_every_paid_provider_says_what_it_costs_at_most(registry: Registry) -> None:
    """So that a call with a budget can ask it."""
    from backplane.recovery.ceiling import UNBOUNDED, ceiling_nano_usd

    prices: dict[str, Any] = {vendor.provider: spec(registry, vendor)[1].price for vendor in VENDORS}

    assert [name for name, price in prices.items() if ceiling_nano_usd(price, 60.0) >= UNBOUNDED] == []


async def test_a_hero_image_is_uploaded_and_featured(server: Server, registry: Registry, tmp_path: Path) -> None:
    """From the artifact store to the site's media, before the post that shows it."""
    [site] = [vendor for vendor in VENDORS if vendor.provider == "wordpress"]
    content = png(4, 4)
    artifact = ArtifactStore(tmp_path).put(content, "image/png").descriptor()
    hero = replace(site, params={**site.params, "hero": {"artifact": artifact}})
    server.script = lambda asked: Reply({"id": 77}, 201) if "media" in asked.path else site.good(asked, server.url)
    outcome = await ask(registry, hero, server, tmp_path)

    assert isinstance(outcome, Answer), outcome
    _, media, post = server.asked
    assert (media.path, media.body) == ("/wp-json/wp/v2/media", content)
    assert media.headers["content-type"] == "image/png"
    assert media.headers["content-disposition"] == 'attachment; filename="hero.png"'
    assert post.json["featured_media"] == 77


async def test_an_upload_of_what_is_not_there_is_told(server: Server, registry: Registry, tmp_path: Path) -> None:
    """Before anything is published."""
    [site] = [vendor for vendor in VENDORS if vendor.provider == "wordpress"]
    gone = {"artifact": {"uri": f"artifact:{'0' * 64}", "mime": "image/png"}}
    server.script = lambda asked: site.good(asked, server.url)
    outcome = failed(await ask(registry, replace(site, params={**site.params, "hero": gone}), server, tmp_path))

    assert (outcome.error_class, outcome.code, outcome.uncertain) == ("invalid_request", "unknown_artifact", False)
    assert [asked.method for asked in server.asked] == ["GET"]


@pytest.mark.parametrize("params", [{"frames": [{"uri": f"artifact:{'0' * 64}"}]}, {"seconds": 30}])
async def test_what_a_vendor_cannot_do_it_is_not_asked_for(
    server: Server, registry: Registry, params: dict[str, Any], tmp_path: Path
) -> None:
    """Videos of given frames, or longer ones than it makes, are left to those who can."""
    for vendor in (each for each in VENDORS if each.capability == "video_generation"):
        given = replace(vendor, params={**vendor.params, **params})
        outcome = failed(await ask(registry, given, server, tmp_path))
        assert (outcome.error_class, outcome.code) == ("invalid_request", "not_accepted")
    assert server.asked == []
