"""A secret goes to its provider and nowhere else: searched for in all that a platform writes, byte by byte.

The provider does its worst: it quotes the key in its error, and sends back whole requests.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import re
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import psutil
import pytest
import yaml

from backplane.cli.app import run
from backplane.cli.output import ExitCode
from tests.support.chaos.log import read
from tests.support.eventually import assert_eventually
from tests.support.http_server import Asked, Reply, Server, serving
from tests.support.prepared import Prepared

if TYPE_CHECKING:
    from backplane.platform.platform import LocalPlatform

CANARY: Final = 'sk-canary+7f/e2="x'
TOKEN: Final = "token-canary-51c0"
FORMS: Final = [
    form.encode()
    for secret in (CANARY, TOKEN)
    for form in (
        secret,
        json.dumps(secret)[1:-1],
        quote(secret, safe=""),
        b64encode(secret.encode()).decode(),
        b64encode(f"me:{secret}".encode()).decode(),
    )
]
KINDS: Final[dict[str, dict[str, Any]]] = {
    "header": {"kind": "header", "name": "x-key", "secret": {"env": "CANARY"}},
    "query": {"kind": "query", "name": "key", "secret": {"env": "CANARY"}},
    "basic": {"kind": "basic", "secret": {"env": "CANARY_PAIR"}},
    "oauth": {
        "kind": "oauth2_client_credentials",
        "token_url": {"env": "CANARY_TOKEN_URL"},
        "client_id": {"value": "me"},
        "client_secret": {"env": "CANARY"},
    },
}


LARGEST: Final = 64 * 1024 * 1024
"""Of a file that is searched: what is preallocated is no larger."""
PATHS: Final = ("give", "refuse")
SPELLED: Final = ("escaped", "latin", "packed", "file")
"""Ways to say it that hide it."""


def echo(asked: Asked) -> Reply:
    """All of the request, in a result or in an error."""
    whole = {"path": asked.path, "query": asked.query, "headers": asked.headers, "text": asked.body.decode()}
    if asked.path == "/token":
        return Reply({"access_token": TOKEN, "expires_in": 3600})
    if asked.path == "/escaped":
        spelled = "".join(f"\\u{ord(letter):04x}" for letter in str(whole))
        return Reply(f'{{"echo": "{spelled}", "{spelled}": 1}}'.encode())
    if asked.path == "/latin":
        body = json.dumps({"error": {"message": f"no, Zürich: {whole}"}}, ensure_ascii=False)
        return Reply(body.encode("latin-1"), 500, {"content-type": "application/json; charset=latin-1"})
    if asked.path == "/packed":
        return Reply({"echo": b64encode(str(whole).encode()).decode(), "hex": str(whole).encode().hex()})
    if asked.path == "/file":
        return Reply({"file": b64encode(str(whole).encode()).decode()})
    if asked.path == "/refuse":
        return Reply({"error": {"message": f"Incorrect API key provided: {whole}"}}, status=401)
    return Reply({"echo": whole})


def capability(kind: str, path: str, url: str) -> dict[str, Any]:
    return {
        "name": f"canary_{kind}_{path}",
        "description": "Sends back what it was sent.",
        "side_effects": "read",
        "params": {"type": "object"},
        "result": {"type": "object"},
        "providers": [
            {
                "name": "mirror",
                "kind": "http",
                "request": {"base_url": {"value": url}, "path": f"/{path}"},
                "auth": KINDS[kind],
                **({"response": {"artifact": {"base64": "file", "mime": "text/plain"}}} if path == "file" else {}),
            }
        ],
    }


def family(pid: int) -> list[psutil.Process]:
    """The process and all that it started."""
    own = psutil.Process(pid)
    return [own, *own.children(recursive=True)]


def content(path: Path) -> bytes:
    """What is in a file; nothing where the store has merged it away meanwhile."""
    try:
        return path.read_bytes() if path.stat().st_size < LARGEST else b""
    except FileNotFoundError:
        return b""


def pages(port: int) -> Iterator[bytes]:
    """What is told on a port to whoever asks."""
    for path in ("/metrics", "/", "/runs", "/capabilities", "/cost", "/topics", "/dlq", "/health", "/log"):
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            connection.request("GET", path)
            yield connection.getresponse().read()
            connection.close()


@pytest.fixture
def mirror() -> Iterator[Server]:
    with serving(echo) as server:
        yield server


@pytest.fixture
def platform_with_canary(
    mirror: Server, tmp_path: Path, prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> Iterator[LocalPlatform]:
    """A platform whose executor has the secret in its environment; and logs all it can."""
    from backplane.platform.platform import LocalPlatform

    folder = tmp_path / "capabilities"
    folder.mkdir()
    for kind in KINDS:
        for path in (*PATHS, *(SPELLED if kind == "header" else ())):
            (folder / f"{kind}_{path}.yaml").write_text(yaml.safe_dump(capability(kind, path, mirror.url)))
    monkeypatch.setenv("CANARY", CANARY)
    monkeypatch.setenv("CANARY_PAIR", f"me:{CANARY}")
    monkeypatch.setenv("CANARY_TOKEN_URL", f"{mirror.url}/token")
    monkeypatch.setenv("BACKPLANE_CAPABILITIES__PATHS", json.dumps([str(folder)]))
    with LocalPlatform(prepared.copy(tmp_path / "data")) as running:
        yield running


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_secret_is_in_no_topic_log_or_row(
    platform_with_canary: LocalPlatform, mirror: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of every kind of auth, whether the provider answers or refuses; the search itself finds what is there."""
    platform = platform_with_canary
    directory = platform.layout.data_dir
    told = []
    for kind in KINDS:
        for path, expected in (("give", ExitCode.OK), ("refuse", None)):
            code = run(["call", f"canary_{kind}_{path}", "--json", "--data-dir", str(directory)])
            assert code == expected if expected is not None else code != ExitCode.OK
            told.append("".join(capsys.readouterr()))
    for path in SPELLED:
        run(["call", f"canary_header_{path}", "--json", "--data-dir", str(directory)])
        told.append("".join(capsys.readouterr()))
    assert CANARY in {asked.headers.get("x-key", "") for asked in mirror.asked}

    def rows() -> str:
        assert run(["sql", "SELECT * FROM events", "--json", "--data-dir", str(directory)]) == ExitCode.OK
        out = capsys.readouterr().out
        assert out.count("canary_oauth_refuse") >= 2
        return out

    places = {"answers": "\n".join(told).encode(), "rows": assert_eventually(rows).encode()}
    places["topics"] = b"\n".join(
        b"%s %s %s" % (one.key or b"", one.value or b"", repr(one.headers).encode()) for one in read(platform.settings)
    )
    parts = [part for part in platform.record()["parts"].values() if part.get("pid")]
    processes = [process for part in parts for process in family(part["pid"])]
    places["command lines"] = b"\n".join(" ".join(process.cmdline()).encode() for process in processes)
    ports = {part["port"] for part in parts if part.get("port")}
    places["metrics and pages"] = b"\n".join(page for port in ports for page in pages(port))
    # Kafka's indexes are large, empty for the most part, and hold no values
    files = [path for path in directory.rglob("*") if path.is_file() and path.suffix not in (".index", ".timeindex")]
    places["files"] = b"\n".join(map(content, files))
    places["logs"] = b"\n".join(path.read_bytes() for path in platform.layout.logs.iterdir())

    assert all(b"canary_oauth_give" in places[place] for place in ("answers", "rows", "topics"))
    assert all(b"[secret]" in places[place] for place in ("answers", "rows", "topics"))
    assert all(shown in places["metrics and pages"] for shown in (b"</html>", b"backplane_ready"))
    for process in processes:
        limits = Path(f"/proc/{process.pid}/limits").read_text()
        assert re.search(r"Max core file size +0 +0 ", limits), process
    found = {place: [form for form in FORMS if form in text] for place, text in places.items()}
    assert found == {place: [] for place in places}


def test_what_httpx_logs_of_requests_is_not_logged() -> None:
    """It logs addresses, which may hold a key, and its parts log headers."""
    from backplane.providers.http.wire import Wire
    from tests.support.http_attempts import provider

    Wire(provider("http://127.0.0.1:1"), {}, Path(), None)._http()

    assert all(logging.getLogger(name).level >= logging.WARNING for name in ("httpx", "httpcore"))
