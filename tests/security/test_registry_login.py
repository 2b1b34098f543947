"""The schema registry's port, on the real one: nobody is answered without a login, and an agent's only reads."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import pytest

from agents_sdk import Settings, load_settings
from agents_sdk.keys import issued, read_master, write
from agents_sdk.registry_login import READER
from agents_sdk.wire.registry import Registry, SchemaRejected, connect_codec
from backplane.platform.platform import LocalPlatform

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
SCHEMA: Final = {"type": "record", "name": "Foreign", "fields": [{"name": "a", "type": "long"}]}
SUBJECT: Final = "bp.runs-value"
OTHER_API: Final = "/apis/registry/v3/groups/default/artifacts"


@pytest.fixture
def reader(settings: Settings, tmp_path: Path) -> Settings:
    """Somebody elsewhere who has the key of an agent, and the addresses."""
    master = read_master(settings.identity.master_file) if settings.identity.master_file else None
    assert master is not None
    write(tmp_path / "agent.key", issued(master, "reader_of_schemas", 1))
    return load_settings(
        data_dir=tmp_path,
        kafka={"bootstrap.servers": settings.kafka["bootstrap.servers"], "security.protocol": "sasl_plaintext"},
        registry={"url": settings.registry.url, "username": READER},
        identity={"key_file": tmp_path / "agent.key"},
    )


def asked(settings: Settings, method: str, path: str, login: bool = True, **more: Any) -> int:
    """The status of an answer, whatever library asks. The path goes out as it is written."""
    parts = urlsplit(settings.registry.url)
    target = path if path.startswith("/apis") or path == "/" else f"{parts.path}{path}"
    auth = (settings.registry.username, settings.registry.password.get_secret_value()) if login else None
    with httpx.Client(trust_env=False, timeout=20, auth=auth) as client:
        request = client.build_request(method, f"{parts.scheme}://{parts.netloc}/", **more)
        request.url = request.url.copy_with(raw_path=target.encode())
        return client.send(request).status_code


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Host": "rebound.example"},
        {"Origin": "http://evil.example"},
        {"Origin": "http://localhost:8888"},
        {"Authorization": "Basic Og=="},
        {"Authorization": "Basic YnAub3BlcmF0b3I6"},
        {"Authorization": "Bearer x"},
        {"X-Registry-Role": "sr-admin", "X-Forwarded-User": "bp.operator"},
    ],
)
def test_nobody_is_answered_without_a_login(settings: Settings, headers: dict[str, str]) -> None:
    """A page by another name for our address, a page of another site, a user of the machine: neither reads nor
    changes."""
    for method, path in (
        *(("GET", "/subjects"), ("GET", "/schemas/ids/1"), ("DELETE", f"/subjects/{SUBJECT}"), ("GET", "/")),
        *(("GET", "/apis/registry/v3/system/info"), ("PUT", "/config"), ("GET", "/apis/ccompat/v6/subjects")),
    ):
        assert asked(settings, method, path, login=False, headers=headers) in (401, 403), (method, path)


def test_no_page_of_another_site_is_told_it_may_ask(settings: Settings) -> None:
    """Not by the origins that the registry trusts by itself."""
    headers = {"Origin": "http://localhost:8888", "Access-Control-Request-Method": "DELETE"}
    answer = httpx.options(f"{settings.registry.url}/subjects/{SUBJECT}", headers=headers, trust_env=False)
    assert "access-control-allow-origin" not in answer.headers


def test_a_key_reads_schemas_and_changes_none(settings: Settings, reader: Settings) -> None:
    """What an agent needs works; every other request is refused, in any spelling of its path."""
    assert reader.registry.username == READER
    assert connect_codec(reader) is not None
    with Registry(reader) as registry, pytest.raises(SchemaRejected, match=r"identity\.key_file"):
        registry.register("stranger-value", SCHEMA)
    body: dict[str, Any] = {"json": {"schema": json.dumps(SCHEMA)}}
    subject = "/subjects/stranger-value"
    for path in (
        *(f"{subject}/versions", f"{subject}/versions/", f"{subject}//versions", f"{subject}/%76ersions"),
        *(f"{subject};a=b/versions", f"{subject}/versions;a", f"{subject}/./versions", f"{subject}/x/../versions"),
        *(f"/../v7{subject}/versions", f"/../v6{subject}/versions", f"/..;/v7{subject}/versions", OTHER_API),
        f"/compatibility{subject}/versions/latest",
    ):
        assert asked(reader, "POST", path, **body) == 403, path
    for method in ("DELETE", "PUT", "PATCH"):
        for path in (f"/subjects/{SUBJECT}", f"/subjects/{SUBJECT}/versions/1", "/config", "/mode", OTHER_API):
            assert asked(reader, method, path, json={}) in (403, 405), (method, path)
    assert asked(reader, "GET", OTHER_API) == 403
    override = {"X-HTTP-Method-Override": "DELETE"}
    asked(reader, "POST", f"/subjects/{SUBJECT}", headers=override, **body)
    with Registry(settings) as registry:
        assert SUBJECT in registry.subjects()
        assert "stranger-value" not in registry.subjects()


def test_an_operator_registers(settings: Settings) -> None:
    """By the login that follows from the master key; it is spelled out nowhere."""
    with Registry(settings) as registry:
        assert registry.register("operators-value", SCHEMA)
        registry.set_level("operators-value")
        assert not registry.accepts("operators-value", {**SCHEMA, "name": "Other"})
    for path in ("/subjects/operators-value", "/subjects/operators-value?permanent=true"):
        assert asked(settings, "DELETE", path) == 200
    assert asked(settings, "GET", OTHER_API) == 200
    assert settings.registry.password.get_secret_value() not in str(settings)


def test_passwords_lie_in_a_file_for_its_owner_alone(platform: LocalPlatform, settings: Settings) -> None:
    """And in no record of the platform, log or command line."""
    file = platform.layout.store("registry") / "users.properties"
    secret = settings.registry.password.get_secret_value()
    assert secret in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    logs = [path.read_text(errors="replace") for path in platform.layout.logs.iterdir() if path.is_file()]
    assert not any(secret in text for text in (platform.layout.record.read_text(), *logs))
