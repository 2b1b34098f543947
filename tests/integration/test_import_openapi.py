"""A real OpenAPI document, the schema registry's own, becomes capabilities that the registry answers."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from agents_sdk.core.ids import CallId, RunId
from backplane.cli.app import run
from backplane.manifests.registry import Registry, load_registry
from backplane.providers.fleet import Fleet
from backplane.recovery.outcome import Answer, AttemptRequest

if TYPE_CHECKING:
    from backplane.platform.platform import LocalPlatform

WITHIN: Final = "META-INF/resources/api-specifications/{}/openapi.json"
SCHEMA: Final = json.dumps({"type": "record", "name": "Thing", "fields": [{"name": "id", "type": "string"}]})


def document(api: str, folder: Path) -> Path:
    """The document of one of the registry's interfaces, from its jar."""
    from backplane.platform.artifacts import jars

    [jar] = jars().registry.glob("apicurio-registry-app-*-runner.jar")
    path = folder / "api.json"
    with zipfile.ZipFile(jar) as archive:
        path.write_bytes(archive.read(WITHIN.format(api)))
    return path


@pytest.mark.parametrize(("api", "least"), [("ccompat/v7", 37), ("registry/v2", 64), ("registry/v3", 77)])
def test_every_operation_becomes_a_capability_or_is_told(
    api: str, least: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Documents of a hundred kilobytes and more, in which schemas refer to themselves."""
    path = document(api, tmp_path)
    paths = json.loads(path.read_text())["paths"]
    operations = [
        method for item in paths.values() for method in item if method in ("get", "put", "post", "delete", "patch")
    ]

    assert run(["capabilities", "import-openapi", str(path), "--out", str(tmp_path / "made"), "--prefix", "reg_"]) == 0

    skipped = [line for line in capsys.readouterr().err.splitlines() if line.startswith("skipped ")]
    made = load_registry([tmp_path / "made"])
    drafted = [each for each in made if each.capability.name.startswith("reg_")]
    assert len(drafted) >= least
    assert len(drafted) + len(skipped) == len(operations)


@pytest.mark.slow
async def test_a_draft_is_answered_by_the_real_api(platform: LocalPlatform, tmp_path: Path) -> None:
    """Registers a schema, lists it, reads it back, and is refused what is not there: by manifests nobody touched."""
    url, path = platform.settings.registry.url, document("ccompat/v7", tmp_path)
    told = json.loads(path.read_text())
    told |= {"security": [{"login": []}]}
    told["components"]["securitySchemes"] = {"login": {"type": "http", "scheme": "basic"}}
    path.write_text(json.dumps(told))
    made = tmp_path / "made"
    assert run(["capabilities", "import-openapi", str(path), "--out", str(made), "--base-url", url]) == 0
    [secret] = {name for file in made.iterdir() for name in re.findall(r"\w+_API_KEY", file.read_text())}
    login = platform.settings.registry
    fleet = Fleet(tmp_path, {secret: f"{login.username}:{login.password.get_secret_value()}"})
    registry = load_registry([made])
    try:
        subject = {"subject": "imported-value"}
        registered = await call(
            registry, fleet, "register_schema_under_subject", subject | {"body": {"schema": SCHEMA}}
        )
        listed = await call(registry, fleet, "get_subjects", {})
        versions = await call(registry, fleet, "get_subject_versions", subject)
        missing = await call(registry, fleet, "get_subject_versions", {"subject": "no-such"})
    finally:
        await fleet.close()

    assert isinstance(registered, Answer), registered
    assert registered.result["id"] > 0
    assert "imported-value" in listed.result
    assert versions.result == [1]
    assert (missing.error_class, missing.code) == ("invalid_request", "http_404")
    assert "no-such" in missing.message


async def call(registry: Registry, fleet: Fleet, name: str, params: dict[str, Any]) -> Any:
    """The outcome of the capability's only provider, params and result held against the draft's schemas."""
    contract = registry.get(name)
    assert contract.check_params(params) is None
    request = AttemptRequest(
        call_id=CallId("c"), run_id=RunId("r"), agent="a", attempt=1, params=params, timeout_seconds=30
    )
    outcome = await fleet.attempt(contract, contract.capability.providers[0], request)
    if isinstance(outcome, Answer):
        assert contract.check_result(outcome.result) is None
    return outcome
