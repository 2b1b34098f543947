"""Manifests: what is read, and how what is wrong is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from backplane.manifests.manifest import ManifestError, parse
from backplane.manifests.model import HttpProvider, Reference
from backplane.manifests.registry import BUILT_IN, UnknownCapability, examine_folder, load_registry

GOOD = """\
name: weather
description: Tells the weather of a place.
side_effects: read
params:
  type: object
  required: [place]
result:
  type: object
providers:
  - name: api
    kind: http
    request:
      method: GET
      base_url: {value: "http://127.0.0.1:1"}
      path: /v1/${params.place}
      query: {units: "${params.units}"}
    auth: {kind: bearer, secret: {env: WEATHER_KEY}}
    response: {result: "{celsius: main.temp}"}
    errors:
      - {status: 429, class: rate_limited}
"""


def test_a_good_manifest_is_read_whole() -> None:
    """Names, kinds and mappings come out as they went in."""
    capability = parse(GOOD, "weather.yaml")

    provider = capability.providers[0]
    assert isinstance(provider, HttpProvider)
    assert (capability.name, provider.name, provider.response.result) == ("weather", "api", "{celsius: main.temp}")


@pytest.mark.parametrize(
    ("old", "new", "line", "told"),
    [
        ("side_effects: read", "side_effects: harmless", 3, "side_effects: Input should be 'read'"),
        ("side_effects: read\n", "", 1, "side_effects: is missing"),
        ("    kind: http", "    kind: smtp", 10, "providers.0: "),
        ("      method: GET", "      metod: GET", 13, "providers.0.request.metod: no such key"),
        ("status: 429", "status: [429, x]", 20, "providers.0.errors.0.status"),
        ("status: 429, ", "", 20, "fits every response"),
        ("{celsius: main.temp}", "{celsius: ", 18, "no JMESPath"),
        ("/v1/${params.place}", "/v1/${params.place", 15, "without its '}'"),
        ('"${params.units}"', '"${params.}"', 16, "no JMESPath"),
        ("secret: {env: WEATHER_KEY}", "secret: {value: hunter2}", 17, "auth.secret.value: no such key"),
        ("secret: {env: WEATHER_KEY}", "secret: {}", 17, "an empty reference; give one of env, file"),
        ("kind: bearer,", "kind: header,", 17, "needs the name of the header"),
        ("  type: object\n  required", "  type: objekt\n  required", 4, "params: not a JSON Schema"),
        ("  type: object\n  required", "  type: array\n  required", 1, "params is not the schema of an object"),
        ("name: weather", "name: Weather Report", 1, "name: "),
        ("description: Tells the weather of a place.", "description: short", 2, "description: "),
        ("side_effects: read", "side_effects: read\nside_effects: unsafe", 4, "'side_effects' is given twice"),
        ("  required: [place]", "  required: [place", 7, "not YAML"),
        ("    kind: http", "    kind: http\n    timeout_seconds: 0", 12, "timeout_seconds"),
    ],
)
def test_what_is_wrong_is_told_with_line_and_path(old: str, new: str, line: int, told: str) -> None:
    """file:line:column: path: fact; the column is where a key or a value begins."""
    assert old in GOOD
    text = GOOD.replace(old, new, 1)

    with pytest.raises(ManifestError) as caught:
        parse(text, "weather.yaml")

    assert caught.value.fields["line"] == line, caught.value
    assert told in str(caught.value)
    column = caught.value.fields["column"]
    assert str(caught.value).startswith(f"weather.yaml:{line}:{column}: ")
    assert "not YAML" in told or (" " + text).splitlines()[line - 1][column - 1 : column + 1].strip()
    assert "hunter2" not in str(caught.value)


def test_two_providers_of_one_name_are_refused() -> None:
    """Attempts name their provider; the name must mean one."""
    again = GOOD + "  - {name: api, kind: python, function: 'a:b'}\n"

    with pytest.raises(ManifestError, match="provider 'api' is declared twice"):
        parse(again, "weather.yaml")


@pytest.mark.parametrize("text", ["", "- a\n", "just words", "\t: x"])
def test_what_is_no_mapping_is_refused(text: str) -> None:
    """Empty files, lists, tabs."""
    with pytest.raises(ManifestError):
        parse(text, "x.yaml")


def test_a_degraded_result_must_keep_the_contract() -> None:
    """A substitute that breaks the result schema would fail when it is needed most."""
    wrong = GOOD.replace("result:\n  type: object\n", "degraded_result: 5\nresult:\n  type: object\n", 1)

    with pytest.raises(ManifestError, match="degraded_result does not fit"):
        parse(wrong, "weather.yaml")


def test_the_built_in_manifests_load() -> None:
    """Each capability of the demo is there, one file each, named like it."""
    registry = load_registry()

    names = [contract.capability.name for contract in registry]
    assert names == sorted(path.stem for path in BUILT_IN.glob("*.yaml"))
    assert {"web_search", "document_search", "text_generation", "image_generation", "content_publish"} <= set(names)


def test_every_built_in_provider_has_a_price() -> None:
    """What a provider costs is never unknown."""
    unpriced = [
        provider.name
        for contract in load_registry()
        for provider in contract.capability.providers
        if provider.price is None
    ]

    assert unpriced == []


def test_a_users_folder_adds_and_replaces(tmp_path: Path) -> None:
    """A capability of the same name as a built-in one takes its place."""
    (tmp_path / "weather.yaml").write_text(GOOD)
    (tmp_path / "mine.yml").write_text(GOOD.replace("name: weather", "name: web_search", 1))

    registry = load_registry([tmp_path])

    assert Path(registry.get("weather").source).parent == tmp_path
    assert registry.get("web_search").capability.providers[0].name == "api"


def test_all_that_is_wrong_in_a_folder_is_told_at_once(tmp_path: Path) -> None:
    """Two files, three mistakes, each with its place."""
    (tmp_path / "a.yaml").write_text(
        GOOD.replace("kind: http", "kind: http\n    timout_seconds: 3\n    concurrency: 0")
    )
    (tmp_path / "b.yaml").write_text("name: [")

    found, problems = examine_folder(tmp_path)

    places = [(Path(each.fields["file"]).name, each.fields["line"], each.fields["column"]) for each in problems]
    assert places == [("a.yaml", 13, 5), ("a.yaml", 12, 5), ("b.yaml", 1, 8)]
    assert found == {}


def test_two_of_one_name_in_a_folder_are_refused(tmp_path: Path) -> None:
    """Which would win?"""
    (tmp_path / "a.yaml").write_text(GOOD)
    (tmp_path / "b.yaml").write_text(GOOD)

    with pytest.raises(ManifestError, match=r"also in a\.yaml"):
        load_registry([tmp_path])


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    """A misspelt path must not pass for an empty folder."""
    with pytest.raises(ManifestError, match="no such folder"):
        load_registry([tmp_path / "nowhere"])


def test_an_unknown_capability_names_the_nearest() -> None:
    """And none when nothing is near."""
    registry = load_registry()

    with pytest.raises(UnknownCapability, match="did you mean 'image_generation'"):
        registry.get("image_generator")
    with pytest.raises(UnknownCapability) as caught:
        registry.get("zzzz")
    assert caught.value.fields["nearest"] == []


def test_a_reference_is_looked_up_in_order(tmp_path: Path) -> None:
    """Environment, then file, then the value; an empty variable counts as absent."""
    (tmp_path / "url").write_text("from file\n")
    reference = Reference(env="URL", file="url", value="fixed")

    assert reference.resolve({"URL": "from env"}, tmp_path) == "from env"
    assert reference.resolve({"URL": ""}, tmp_path) == "from file"
    assert reference.resolve({}, tmp_path / "other") == "fixed"
    assert Reference(env="URL").resolve({}, tmp_path) == ""


def test_descriptions_are_a_few_dozen_tokens() -> None:
    """Agents read them all; a capability's is at most 40 words."""
    assert all(len(contract.capability.description.split()) <= 40 for contract in load_registry())
