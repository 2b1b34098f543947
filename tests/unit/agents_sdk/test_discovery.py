"""Discovery: what fits the need comes first, and only what a role may call and somebody can do comes at all."""

from __future__ import annotations

import pytest

from agents_sdk.core.catalogue import Catalogue
from agents_sdk.core.registry import ExecutorBeat, Switch
from agents_sdk.discovery import Discovery
from agents_sdk.toolbox import Toolbox
from backplane.manifests import publish
from backplane.manifests.registry import load_registry

PERIOD_MS = 1_000


def catalogue(*lacking: str) -> Catalogue:
    """The built-in capabilities, all askable by one executor that was heard at 0, but for these."""
    found, ready = Catalogue(), []
    for number, contract in enumerate(load_registry()):
        found.take(publish.record_of(contract, "built-in", ""), number, 0.0)
        name = contract.capability.name
        ready += [f"{name}/{each.name}" for each in contract.capability.providers if name not in lacking]
    found.take(ExecutorBeat(executor="e", period_ms=PERIOD_MS, beat_at=0, ready=ready), 0, 0.0)
    return found


def names(found: Catalogue, text: str, globs: tuple[str, ...] = ("*",), now: float = 0.0) -> list[str]:
    return [each.name for each in Discovery(found).search(text, globs, now)]


@pytest.mark.parametrize(
    ("need", "first"),
    [
        ("find recent news about a company", "web_search"),
        ("write a blog post about heat pumps", "text_generation"),
        ("make a picture for the top of the page", "image_generation"),
        ("put the article on the website", "content_publish"),
        ("search the files in a folder", "document_search"),
    ],
)
def test_the_capability_that_fits_comes_first(need: str, first: str) -> None:
    """In words that people use; stems count, not forms."""
    assert names(catalogue(), need)[0] == first


def test_each_capability_is_the_first_one_found_by_its_own_name() -> None:
    """Whoever knows the name finds it."""
    found = catalogue()
    for name in found.manifests:
        assert names(found, name.replace("_", " "))[0] == name


def test_only_what_the_role_allows_and_somebody_can_ask_is_found() -> None:
    """By globs, switches and heartbeats: no tool is offered that nobody may or can call."""
    found = catalogue("image_generation")
    need = "search write make put publish image picture documents article"

    assert set(names(found, need, ("web_*", "content_publish"))) == {"web_search", "content_publish"}
    assert "image_generation" not in names(found, need)
    found.take(Switch(target="web_search", state="disabled"), 0, 0.0)
    assert "web_search" not in names(found, need)
    found.take(Switch(target="web_search", state="paused", policy="wait"), 1, 0.0)
    assert "web_search" in names(found, need)
    assert names(found, need, now=3 * PERIOD_MS / 1000 + 0.1) == []


def test_a_change_is_found_at_once_and_words_that_fit_nothing_find_nothing() -> None:
    """The index follows the catalogue; odd syntax is plain words."""
    found = catalogue()
    discovery = Discovery(found)
    assert discovery.search("zeppelin", ("*",), 0.0) == []
    contract = load_registry().get("echo")
    capability = contract.capability.model_copy(update={"description": "Flies a zeppelin over the town."})
    changed = publish.record_of(type(contract)(capability, ""), "applied", "")
    found.take(changed, 99, 0.0)

    assert [each.name for each in discovery.search('zeppelin AND (" [', ("*",), 0.0)] == ["echo"]
    assert discovery.search("zeppelin", ("*",), 0.0, limit=0) == []


def test_tools_are_those_of_the_role_or_some_of_them() -> None:
    """A name that may not be called is no silent omission."""
    toolbox = Toolbox(Discovery(catalogue()), ("web_*", "echo"), clock=lambda: 0.0)

    assert [each["name"] for each in toolbox.definitions("mcp")] == ["echo", "web_search"]
    assert [each["name"] for each in toolbox.definitions("anthropic", ["web_search"])] == ["web_search"]
    with pytest.raises(LookupError, match="content_publish"):
        toolbox.definitions("openai", ["content_publish"])
