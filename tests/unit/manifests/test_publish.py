"""What applying manifests would do: what changes, what is kept, what is refused, and that no secret goes out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agents_sdk.core.catalogue import Catalogue
from backplane.manifests import publish
from backplane.manifests.model import Capability
from backplane.manifests.registry import RegisteredCapability, load_registry
from backplane.manifests.schema import URL, manifest_schema
from tests.support.calls import capability

ROOT = Path(__file__).parents[3]


def contract(**fields: Any) -> RegisteredCapability:
    return RegisteredCapability(capability(**fields), "x.yaml")


def holding(source: publish.Source, **fields: Any) -> Catalogue:
    """A registry with the manifest of ``probe``."""
    catalogue = Catalogue()
    catalogue.take(publish.record_of(contract(**fields), source, "somebody"), 4, 0.0)
    return catalogue


def statuses(catalogue: Catalogue, source: publish.Source, **fields: Any) -> list[str]:
    return [each.status for each in publish.plan(catalogue, [contract(**fields)], source)]


def test_a_manifest_goes_through_the_registry_unchanged() -> None:
    """Canonical JSON without defaults, and back, for every built-in one; the text is always the same."""
    for each in load_registry():
        record = publish.record_of(each, "built-in", "")
        assert publish.capability_of(record) == each.capability
        assert publish.text_of(publish.capability_of(record)) == record.manifest
        assert list(publish.leaked(each.capability)) == []


def test_what_an_operator_applied_is_kept_and_what_is_built_in_is_replaced() -> None:
    """A start of the platform brings its own manifests up to date, and undoes nobody's work."""
    other = {"description": "Another description."}
    assert statuses(Catalogue(), "built-in") == ["new"]
    assert statuses(holding("built-in"), "built-in") == ["unchanged"]
    assert statuses(holding("built-in"), "built-in", **other) == ["changed"]
    assert statuses(holding("applied"), "built-in", **other) == ["kept"]
    assert statuses(holding("settings"), "applied", **other) == ["changed"]
    absent = publish.plan(holding("built-in"), [contract(**other)], "built-in", absent_only=True)
    assert [each.status for each in absent] == ["kept"]


def test_what_breaks_callers_is_refused_with_the_path_unless_it_is_built_in() -> None:
    """Callers of a release's own manifests come with the release."""
    needs = {"params": {"type": "object", "required": ["q"], "properties": {"q": {"type": "string"}}}}
    changes = publish.plan(holding("applied"), [contract(**needs)], "applied")

    assert [each.status for each in changes] == ["refused"]
    assert "params.q: " in changes[0].refused[0]
    assert publish.records(changes, "applied", "") == []
    assert statuses(holding("built-in"), "built-in", **needs) == ["changed"]


@pytest.mark.parametrize(
    ("request_", "config", "named"),
    [
        ({"headers": {"Authorization": "Bearer sk-123456"}}, {}, "headers.Authorization"),
        ({"query": {"api_key": "sk-123456"}}, {}, "query.api_key"),
        ({"base_url": {"value": "https://me:sk-123456@host/"}}, {}, "base_url"),
        ({}, {"client_secret": "sk-123456"}, "config.client_secret"),
        ({"headers": {"idempotency-key": "${call.id}"}, "query": {"max_tokens": "5"}}, {"token_limit": "9"}, ""),
    ],
)
def test_a_secret_in_a_request_is_refused_and_not_quoted(request_: Any, config: Any, named: str) -> None:
    """Everybody who may read the registry would have it; the message says where, never what."""
    provider = {
        "name": "api",
        "kind": "http",
        "config": config,
        "request": {"base_url": {"value": "https://host"}, **request_},
    }
    changes = publish.plan(Catalogue(), [contract(providers=[provider])], "applied")

    assert [each.status for each in changes] == ["refused" if named else "new"]
    assert [named in line for line in changes[0].refused] == [True] * bool(named)
    assert "123456" not in " ".join(changes[0].refused)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"env": {"API_KEY": {"value": "sk-123456"}}}, "env.API_KEY.value"),
        ({"command": ["serve", "--api-key=sk-123456"]}, "command.1"),
        ({"url": {"value": "https://me:sk-123456@host/mcp"}, "command": []}, "url.value"),
        ({"env": {"API_KEY": {"env": "OTHER_KEY"}, "MAX_TOKENS": {"value": "5"}}}, ""),
    ],
)
def test_a_secret_for_a_program_or_a_server_is_refused_as_well(fields: Any, named: str) -> None:
    """Variables and arguments are part of the manifest like everything else; a name of one is none."""
    provider = {"name": "tool", "kind": "mcp", "command": ["serve"], "tool": "t", **fields}
    (change,) = publish.plan(Catalogue(), [contract(providers=[provider])], "applied")

    assert [named in line for line in change.refused] == [True] * bool(named)
    assert "123456" not in " ".join(change.refused)


def test_the_published_schema_is_that_of_the_models() -> None:
    """Editors complete what the code takes. Written anew by `backplane capabilities schema`."""
    kept = json.loads((ROOT / URL).read_text())

    assert kept == json.loads(json.dumps(manifest_schema()))
    assert set(kept["properties"]) == {field.alias or name for name, field in Capability.model_fields.items()}


def test_manifests_fit_their_schema_and_misspelt_ones_do_not() -> None:
    """The schema says what the models say, for the manifests that there are."""
    import jsonschema_rs
    import yaml

    schema = jsonschema_rs.validator_for(manifest_schema())
    for each in load_registry():
        manifest = yaml.safe_load(Path(each.source).read_text())
        assert schema.is_valid(manifest), each.source
        assert not schema.is_valid({**manifest, "timout_seconds": 3})
        first = Path(each.source).read_text().splitlines()[0]
        assert first.startswith("# yaml-language-server: $schema=")
        assert (Path(each.source).parent / first.partition("=")[2]).resolve() == ROOT / URL
