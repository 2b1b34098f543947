"""Whether an effect may have happened is told by how far an attempt came, whatever was raised and however it is
spelled.

Every kind of exception is raised at every stage of an attempt, of every kind of provider.
"""

from __future__ import annotations

import asyncio
import binascii
import socket
import sys
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from jmespath.exceptions import JMESPathTypeError

from agents_sdk.artifacts import ArtifactStore, UnknownArtifact
from agents_sdk.errors import BackplaneError, Unreachable
from backplane.manifests.model import PythonProvider, SubprocessProvider
from backplane.providers import classify, lines
from backplane.providers.body import Unreadable
from backplane.providers.http import HttpAttempts, attempts, media, wire
from backplane.providers.http.failed import Failed
from backplane.providers.python import PythonAttempts, Resources
from backplane.providers.redaction import Redaction
from backplane.providers.subprocess import SubprocessAttempts
from backplane.recovery.outcome import Answer, AttemptOutcome, Failure
from tests.support.http_attempts import attempt, provider, request
from tests.support.http_server import Reply, Server, serving

REQUEST = httpx.Request("POST", "http://x")
RAISED: list[BaseException] = [
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    UnicodeEncodeError("ascii", "ä", 0, 1, "ordinal not in range"),
    ValueError("no"),
    KeyError("no"),
    TypeError("no"),
    IndexError("no"),
    AttributeError("no"),
    OverflowError("no"),
    ZeroDivisionError("no"),
    AssertionError("no"),
    RecursionError("too deep"),
    MemoryError(),
    OSError(28, "no space left on device"),
    ConnectionResetError("no"),
    TimeoutError("no"),
    EOFError("no"),
    LookupError("unknown encoding"),
    NotImplementedError("no"),
    StopAsyncIteration(),
    zlib.error("no"),
    binascii.Error("no"),
    msgspec.DecodeError("no"),
    msgspec.ValidationError("no"),
    JMESPathTypeError("sum", None, "null", ["array"]),
    httpx.DecodingError("no", request=REQUEST),
    httpx.ReadError("no", request=REQUEST),
    httpx.RemoteProtocolError("no", request=REQUEST),
    httpx.LocalProtocolError("no", request=REQUEST),
    httpx.ConnectError("no", request=REQUEST),
    httpx.ConnectTimeout("no", request=REQUEST),
    httpx.PoolTimeout("no", request=REQUEST),
    httpx.UnsupportedProtocol("no", request=REQUEST),
    httpx.TooManyRedirects("no", request=REQUEST),
    httpx.InvalidURL("no"),
    httpx.StreamConsumed(),
    Unreachable("no"),
    UnknownArtifact("no", sha256=""),
    BackplaneError("no"),
    ExceptionGroup("no", [ValueError("no")]),
    Failed(Failure(error_class="invalid_request", code="x", message="certain")),
    Unreadable("no"),
]
BYTES = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+M8AAAMBAQAY3Y2wAAAAAElFTkSuQmCC"
EVERY_STAGE: dict[str, Any] = {
    "lookup": {"request": {"path": "/lookup", "method": "GET"}},
    "request": {"method": "POST", "path": "/make", "body": {"q": "${params.q}"}},
    "poll": {"request": {"path": "/poll", "method": "GET"}, "done": "done", "interval_seconds": 0.001},
    "response": {
        "json_text": "text",
        "artifact": {"base64": "image", "mime": "image/png"},
        "result": "artifact",
        "input_tokens": "n",
        "usage": {"images": "${response.n}"},
    },
}
BEFORE: dict[str, tuple[Any, str]] = {
    "building the request": (wire.Wire, "_build"),
    "proving who asks": (wire.Wire, "_prove"),
    "looking up": (attempts.HttpAttempts, "_look_up"),
    "checking the address": (wire, "_checked"),
}
AFTER: dict[str, tuple[Any, str]] = {
    "reading": (wire, "read"),
    "decoding": (wire, "text_of"),
    "parsing": (wire, "parse"),
    "taking secrets out": (Redaction, "tree"),
    "classifying": (classify, "of_response"),
    "polling": (attempts.HttpAttempts, "_poll_until_done"),
    "measuring": (attempts, "counted"),
    "reading the JSON in it": (attempts, "parse"),
    "decoding the file": (media, "_decoded"),
    "looking at the file": (media, "_image_size"),
    "storing the file": (ArtifactStore, "put"),
}


def script(asked: Any) -> Reply:
    """What each step is answered on a good day."""
    if asked.path == "/poll":
        return Reply({"done": True, "text": f'{{"image": "{BYTES}"}}', "n": 1})
    return Reply({})


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving(script) as running:
        yield running


def raising(error: BaseException) -> Callable[..., Any]:
    def broken(*_: Any, **__: Any) -> Any:
        raise error

    return broken


@pytest.fixture
async def asking(server: Server, tmp_path: Path) -> AsyncIterator[HttpAttempts]:
    made = HttpAttempts(provider(server.url, **EVERY_STAGE), {}, tmp_path)
    yield made
    await made.close()


async def test_on_a_good_day_every_stage_is_gone_through(server: Server, asking: HttpAttempts) -> None:
    """What the other tests break is there to be broken."""
    outcome = await asking.attempt(request({"q": "x"}))

    assert isinstance(outcome, Answer), outcome
    assert outcome.result["mime"] == "image/png"
    assert [each.path for each in server.asked[-3:]] == ["/lookup", "/make", "/poll"]


@pytest.mark.parametrize("stage", BEFORE)
async def test_what_is_raised_before_the_first_byte_is_certain(
    server: Server, asking: HttpAttempts, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The main request never left: the next provider may be asked, whatever it was."""
    place, name = BEFORE[stage]
    asked = len(server.asked)
    for error in RAISED:
        monkeypatch.setattr(place, name, raising(error))
        outcome = await asking.attempt(request({"q": "x"}))
        assert isinstance(outcome, Failure), (error, outcome)
        assert not outcome.uncertain, (error, outcome)
    assert all(each.path != "/make" for each in server.asked[asked:])


@pytest.mark.parametrize("stage", AFTER)
async def test_what_is_raised_after_the_first_byte_is_uncertain(
    server: Server, asking: HttpAttempts, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The effect may have happened, whatever it was that could not be read, mapped, kept or paid for."""
    place, name = AFTER[stage]
    original = getattr(place, name)
    for error in RAISED:
        sent = len(server.asked)

        def once_it_is_sent(*args: Any, error: BaseException = error, sent: int = sent, **kwargs: Any) -> Any:
            if any(each.path == "/make" for each in server.asked[sent:]):
                raise error
            return original(*args, **kwargs)

        monkeypatch.setattr(place, name, once_it_is_sent)
        outcome = await asking.attempt(request({"q": "x"}))
        assert isinstance(outcome, Failure), (error, outcome)
        assert outcome.uncertain, (error, outcome)


@pytest.mark.parametrize("status", [200, 201, 202, 500, 502])
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ('{"data": "Zürich"}'.encode("latin-1"), "application/json"),
        (b'{"data": "a\xffb"}', "application/json; charset=utf-8"),
        (b'{"data": "a\xffb"}', "text/html"),
        (b"\xff\xfe\x00", "application/json"),
        (b"\x80" * 1000, ""),
        (b"[" * 100_000 + b"]" * 100_000, "application/json"),
        (b'{"a":' * 3_000 + b"1" + b"}" * 3_000, "application/json"),
        (b'{"data": "\\ud800"}', "application/json"),
        (b'{"data": 1e999}', "application/json"),
        (b'{"data": NaN}', "application/json"),
        (b'{"data": "Z\xc3\xbcrich"}', "application/json; charset=utf-16"),
        (b'{"data": 1}', "application/json; charset=zlib"),
        (b'{"data": 1}', "application/json; charset=\x00nonsense"),
        (b'{"data"', "application/json"),
    ],
)
async def test_however_a_body_is_spelled_the_effect_may_have_happened(
    server: Server, monkeypatch: pytest.MonkeyPatch, body: bytes, kind: str, status: int
) -> None:
    """An answer, or a failure of doubt; never one that is certain."""
    monkeypatch.setattr(server, "script", lambda asked: Reply(body, status, {"content-type": kind}))
    outcome = await attempt(server.url, response={"result": "data"}, request={"method": "POST"})

    assert isinstance(outcome, Answer) or outcome.uncertain, outcome


@pytest.mark.parametrize(
    ("charset", "kind"),
    [
        ("latin-1", "application/json; charset=ISO-8859-1"),
        ("cp1252", 'application/json; charset="windows-1252"'),
        ("utf-16", "application/json"),
        ("utf-8-sig", "application/json"),
        ("utf-16-le", "application/json; charset=utf-16le"),
        ("shift_jis", "application/json; charset=Shift_JIS"),
        ("utf-8", "application/json; charset=us-ascii"),
        ("utf-8", "application/json; charset=no-such"),
    ],
)
async def test_a_body_is_decoded_by_its_charset(
    server: Server, monkeypatch: pytest.MonkeyPatch, charset: str, kind: str
) -> None:
    """The declared one, the mark at its beginning, or UTF-8; an error's words too."""
    town = "東京" if charset == "shift_jis" else "Zürich"
    body = f'{{"data": "{town}", "message": "{town}"}}'.encode(charset)
    monkeypatch.setattr(server, "script", lambda asked: Reply(body, 200, {"content-type": kind}))
    answer = await attempt(server.url, response={"result": "data"})
    monkeypatch.setattr(server, "script", lambda asked: Reply(body, 400, {"content-type": kind}))
    failure = await attempt(server.url, response={"result": "data"})

    assert isinstance(answer, Answer), answer
    assert answer.result == town
    assert isinstance(failure, Failure)
    assert (failure.error_class, failure.uncertain, town in failure.message) == ("invalid_request", False, True)


async def test_a_connection_that_never_comes_up_is_certain() -> None:
    """Its time may be over before a byte was sent."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        waiting = [socket.socket() for _ in range(3)]  # they fill the queue, so that the next one waits for ever
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", port))
        outcome = await attempt(f"http://127.0.0.1:{port}", timeout=0.3)
        for each in waiting:
            each.close()

    assert isinstance(outcome, Failure)
    assert (outcome.code, outcome.uncertain) == ("timeout", False)


@pytest.mark.parametrize("status", [401, 403, 408, 429, 200])
async def test_a_provider_that_will_not_say_leaves_it_open(
    server: Server, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """A refusal to answer whether an effect happened is no answer that it did not."""
    body = {"error": {"message": "try again later", "code": 503}}
    monkeypatch.setattr(server, "script", lambda asked: Reply(body, status))
    url = {"base_url": {"value": server.url}, "path": "/done", "method": "GET"}
    reconcile = {"request": url, "happened": "status == `200` && done == `true`"}
    attempts_of = HttpAttempts(provider(server.url, reconcile=reconcile), {}, Path())
    try:
        found = await attempts_of.reconcile(request())
    finally:
        await attempts_of.close()

    assert found.verdict == "unknown"


PYTHON_RAISED: list[BaseException] = [
    *RAISED[:-2],
    SystemExit(3),
    asyncio.CancelledError(),
    GeneratorExit(),
    BaseExceptionGroup("no", [SystemExit(1)]),
]
CURRENT: list[BaseException] = []


def plain_function(params: Any, context: Any) -> Any:
    raise CURRENT[-1]


async def async_function(params: Any, context: Any) -> Any:
    raise CURRENT[-1]


@pytest.mark.parametrize("name", ["plain_function", "async_function"])
@pytest.mark.parametrize("error", PYTHON_RAISED, ids=repr)
async def test_whatever_a_function_raises_is_uncertain(name: str, error: BaseException, tmp_path: Path) -> None:
    """It may have had its effect before; neither the loop nor the call ends with it."""
    CURRENT.append(error)
    outcome = await function_of(f"{__name__}:{name}", tmp_path)

    assert isinstance(outcome, Failure)
    assert outcome.uncertain, outcome


async def function_of(path: str, tmp_path: Path) -> AttemptOutcome:
    spec = PythonProvider.model_validate({"name": "p", "kind": "python", "function": path})
    with ThreadPoolExecutor(1) as pool:
        asking = PythonAttempts(spec, tmp_path, Resources(), pool, ArtifactStore(tmp_path))
        return await asking.attempt(request())


@pytest.mark.parametrize("source", ["1/0", "raise SystemExit(2)", "raise KeyError('x')", "def f(:", "import nothing_"])
async def test_a_module_that_cannot_be_imported_is_certain(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was asked, whatever its import raised."""
    name = f"broken_{abs(hash(source))}"
    (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    outcome = await function_of(f"{name}:f", tmp_path)

    assert isinstance(outcome, Failure)
    assert (outcome.error_class, outcome.code, outcome.uncertain) == ("outage", "provider_broken", False)


PROGRAM = """
import json, sys
for line in sys.stdin:
    print(json.dumps({"id": json.loads(line)["id"], "result": 1}), flush=True)
"""


async def program_of(code: str, tmp_path: Path, **fields: Any) -> AttemptOutcome:
    spec = SubprocessProvider.model_validate(
        {"name": "p", "kind": "subprocess", "command": [sys.executable, "-c", code], **fields}
    )
    asking = SubprocessAttempts(spec, {}, tmp_path)
    try:
        return await asking.attempt(request(timeout=20))
    finally:
        await asking.close()


async def test_whatever_is_raised_while_a_program_answers_is_uncertain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line was written; before that it is certain."""
    for error in RAISED[::4]:
        monkeypatch.setattr(lines, "counted", raising(error))
        outcome = await program_of(PROGRAM, tmp_path)
        assert isinstance(outcome, Failure), (error, outcome)
        assert outcome.uncertain, (error, outcome)
        with monkeypatch.context() as early:
            early.setattr(SubprocessAttempts, "_line", raising(error))
            before = await program_of(PROGRAM, tmp_path)
        assert isinstance(before, Failure), (error, before)
        assert not before.uncertain, (error, before)


@pytest.mark.parametrize(
    "said",
    [
        "b'\\xff\\xfe{}\\n'",
        'b\'{"id": "\\xff"}\\n\'',
        "b'[' * 100000 + b']' * 100000 + b'\\n'",
        "b'x' * 5000000",
        "b'\\n' * 10",
        "b'{}'",
    ],
)
async def test_however_a_program_spells_its_answer_it_is_uncertain(said: str, tmp_path: Path) -> None:
    """Bytes that are no text, nesting without end, a line without end, silence."""
    program = f"import sys\nsys.stdin.readline()\nsys.stdout.buffer.write({said})\nsys.stdout.buffer.flush()"
    outcome = await program_of(program, tmp_path, mode="call", timeout_seconds=5)

    assert isinstance(outcome, Failure)
    assert outcome.uncertain, outcome
