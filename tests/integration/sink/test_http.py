"""ClickHouse's HTTP interface over the embedded engine, asked by the real clients."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import clickhouse_connect
import httpx
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError, StreamFailureError

from backplane.runtime.http_guard import HANDLER_ARGS
from backplane.store.engine import LIMITS, Engine, QueryFailed
from backplane.store.formats import FORMATS, FORMATTING
from backplane.store.http import TRANSPORT, Door, Login, _settings, make_server
from tests.integration.sink.conftest import Database, _healthy, serving
from tests.support.stories import article, records


@pytest.fixture
def client(port: int) -> Iterator[Any]:
    found = clickhouse_connect.get_client(host="127.0.0.1", port=port)
    yield found
    found.close()


def get(port: int, query: str, **params: str) -> httpx.Response:
    return httpx.get(f"http://127.0.0.1:{port}/", params={"query": query, **params}, timeout=60)


def test_types_arrive_as_from_a_server(client: Any) -> None:
    """Numbers, text, times, money, lists and nothing."""
    result = client.query(
        "SELECT toInt64(-1) AS a, 'ü\\n' AS b, toDateTime64('2026-11-24 12:00:00.000001', 6, 'UTC') AS c, "
        "toDecimal64('0.000000001', 9) AS d, ['x'] AS e, NULL AS f, toLowCardinality('g') AS g"
    )

    assert result.column_names == ("a", "b", "c", "d", "e", "f", "g")
    assert result.result_rows == [
        (
            -1,
            "ü\n",
            datetime(2026, 11, 24, 12, 0, 0, 1, tzinfo=UTC).replace(tzinfo=None),
            Decimal("1E-9"),
            ["x"],
            None,
            "g",
        )
    ]


def test_parameters_are_bound(client: Any) -> None:
    """Text that would be SQL stays text."""
    hostile = "'; DROP TABLE x; --\t\n\\"

    assert client.query("SELECT {a:String}, {b:UInt8}", parameters={"a": hostile, "b": 7}).result_rows == [(hostile, 7)]


def test_commands_streams_and_raw_formats(client: Any) -> None:
    """All ways of asking that clickhouse-connect has, but data frames."""
    assert client.command("SELECT 42") == 42
    with client.query_row_block_stream("SELECT number FROM numbers(200000)") as stream:
        assert sum(len(block) for block in stream) == 200_000
    assert client.raw_query("SELECT 1 AS x", fmt="JSONEachRow") == b'{"x":1}\n'
    with client.raw_stream("SELECT number FROM numbers(3)", fmt="CSV") as raw:
        assert raw.read() == b"0\n1\n2\n"
    assert client.query("SELECT 1 AS x WHERE 0").result_rows == []
    assert client.query("SELECT 1 AS x LIMIT 0").column_names == ("x",)
    assert client.ping()


def test_the_summary_tells_what_was_read(client: Any) -> None:
    """As a server's header does."""
    summary = client.query("SELECT sum(number) FROM numbers(1000)").summary

    assert summary["read_rows"] == "1000"
    assert int(summary["elapsed_ns"]) > 0


def test_the_database_is_the_connection_s(database: Database, port: int) -> None:
    """Tables need no prefix, and one client's database is not another's."""
    database.writer.write(database.writer.prepare(records(article().facts)))
    own = clickhouse_connect.get_client(host="127.0.0.1", port=port, database=database.name)
    try:
        assert own.command("SELECT count() FROM events") == len(article().facts)
        with pytest.raises(DatabaseError, match="UNKNOWN_TABLE"):
            clickhouse_connect.get_client(host="127.0.0.1", port=port).command("SELECT count() FROM events")
    finally:
        own.close()


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("SELECT nothing", 404, 47),
        ("SELECT * FROM nothing", 404, 60),
        ("SELEC 1", 400, 62),
        ("SELECT 1; SELECT 2", 400, 62),
        ("SELECT {a:String}", 400, 456),
        ("INSERT INTO t VALUES (1)", 500, 164),
        ("DROP DATABASE system", 500, 164),
        ("SYSTEM STOP MERGES", 500, 164),
        ("KILL QUERY WHERE 1", 500, 164),
        ("SET max_execution_time = 0", 500, 164),
        ("SELECT 1 SETTINGS max_execution_time = 0", 500, 164),
        ("SELECT 1 SETTINGS readonly = 0", 500, 164),
        ("SELECT 1 INTO OUTFILE '/tmp/x'", 500, 164),
        ("SELECT 1 /* x */ INTO /* y */ OUTFILE '/tmp/x' FORMAT CSV", 500, 164),
        ("CREATE TEMPORARY TABLE x (a Int8)", 500, 164),
        ("SELECT file('/etc/passwd')", 403, 497),
        ("SELECT `file`('/etc/passwd')", 403, 497),
        ("WITH file('/etc/passwd') AS x SELECT x", 403, 497),
        ("EXPLAIN SELECT file('/etc/passwd')", 403, 497),
        ("SELECT * FROM file('/etc/passwd', LineAsString)", 403, 497),
        ("SELECT * FROM url('http://127.0.0.1:1/', LineAsString)", 403, 497),
        ("SELECT * FROM python(x)", 403, 497),
        ("DESCRIBE TABLE s3('http://127.0.0.1:1/a/b')", 403, 497),
        ("SELECT throwIf(number = 2) FROM numbers(3)", 500, 395),
    ],
)
def test_errors_are_a_server_s(port: int, query: str, status: int, code: int) -> None:
    """Status, code header and text; nothing that writes or reaches outside gets through."""
    answer = get(port, query)

    assert (answer.status_code, answer.headers["X-ClickHouse-Exception-Code"]) == (status, str(code))
    assert answer.text.startswith(f"Code: {code}. DB::Exception")


@pytest.mark.parametrize(
    "query",
    [
        "SHOW TABLES FROM system",
        "DESCRIBE TABLE system.one",
        "EXISTS TABLE system.one",
        "EXPLAIN SELECT 1",
        "WITH 1 AS x SELECT x",
        "(SELECT 1) UNION ALL (SELECT 2)",
        "-- why\nSELECT 1 -- how",
        "SELECT 'file(1); DROP TABLE x' AS `INTO OUTFILE`;",
        "SELECT count() FROM numbers(3)",
    ],
)
def test_what_only_reads_is_answered(port: int, query: str) -> None:
    """Words inside of text and names do no harm."""
    assert get(port, query).status_code == 200


class TestLogin:
    """With a password set, queries need it; a probe for health does not."""

    @pytest.fixture
    def guarded(self, engine: Engine) -> Iterator[int]:
        yield from serving(make_server(engine, _healthy, Door(login=Login("reader", "secret ü"))))

    def test_clickhouse_connect_logs_in(self, guarded: int) -> None:
        """With user and password, as to a server; without, or with another, it is told as by a server."""
        found = clickhouse_connect.get_client(host="127.0.0.1", port=guarded, username="reader", password="secret ü")
        assert found.command("SELECT 1") == 1
        found.close()
        for wrong in ({}, {"username": "reader", "password": "x"}, {"username": "x", "password": "secret ü"}):
            with pytest.raises(DatabaseError, match="AUTHENTICATION_FAILED"):
                clickhouse_connect.get_client(host="127.0.0.1", port=guarded, **wrong)  # type: ignore[arg-type]  # text

    def test_headers_and_parameters_log_in_too(self, guarded: int) -> None:
        """The two other ways that curl and Grafana use; a header that is none is no way in."""
        url = f"http://127.0.0.1:{guarded}/?query=SELECT%201"
        headers = {b"X-ClickHouse-User": b"reader", b"X-ClickHouse-Key": "secret ü".encode()}
        assert httpx.get(url, headers=headers).text == "1\n"
        assert httpx.get(url + "&user=reader&password=secret%20%C3%BC").text == "1\n"
        assert httpx.get(url, headers={"Authorization": "Basic !"}).status_code == 403
        assert httpx.get(url, headers={"Authorization": "Bearer x"}).headers["X-ClickHouse-Exception-Code"] == "516"

    def test_health_needs_no_login(self, guarded: int) -> None:
        """The supervisor has none."""
        assert httpx.get(f"http://127.0.0.1:{guarded}/health").status_code == 200


def test_a_query_may_come_in_the_body(port: int) -> None:
    """As curl sends it, alone or after what the address holds."""
    url = f"http://127.0.0.1:{port}/"
    form = {"Content-Type": "application/x-www-form-urlencoded"}

    assert httpx.post(url, content="SELECT 1 + 1", headers=form).text == "2\n"
    assert httpx.post(url, params={"query": "SELECT"}, content="3").text == "3\n"
    assert httpx.post(url, content="SELECT {a:UInt8}", params={"param_a": "5"}).text == "5\n"


def test_the_format_is_the_statement_s_else_the_request_s(port: int) -> None:
    """FORMAT, default_format, then tabs; the header names it."""
    named = get(port, "SELECT 1 AS x FORMAT JSONEachRow", default_format="CSV")
    asked = get(port, "SELECT 'a' AS x", default_format="CSV")

    assert (named.text, named.headers["X-ClickHouse-Format"]) == ('{"x":1}\n', "JSONEachRow")
    assert (asked.text, asked.headers["X-ClickHouse-Format"]) == ('"a"\n', "CSV")
    assert get(port, "SELECT 1, 2").text == "1\t2\n"


def test_settings_may_tighten_and_format_only(port: int) -> None:
    """A limit of ours cannot be raised, and what we do not know is refused."""
    assert get(port, "SELECT getSetting('max_result_rows')", max_result_rows="5").text == "5\n"
    assert get(port, "SELECT getSetting('max_result_rows')", max_result_rows="99999999").text == "1000000\n"
    assert get(port, "SELECT getSetting('max_result_rows')", max_result_rows="0").text == "1000000\n"
    assert get(port, "SELECT 1.5 FORMAT JSONEachRow", output_format_json_quote_decimals="1").status_code == 200
    assert get(port, "SELECT 1", allow_ddl="1").headers["X-ClickHouse-Exception-Code"] == "164"
    assert get(port, "SELECT 1", compress="1").headers["X-ClickHouse-Exception-Code"] == "164"


def test_formats_and_settings_are_allowed_by_name(port: int, client: Any) -> None:
    """Every format and setting that the engine has, a later one too, is on our list or refused."""
    for (name,) in client.query("SELECT name FROM system.formats WHERE is_output").result_rows:
        answer = get(port, "SELECT 1 AS x", default_format=name)
        refused = answer.headers.get("X-ClickHouse-Exception-Code") == "73"
        assert refused == (name not in FORMATS), name
    settings = {name for (name,) in client.query("SELECT name FROM system.settings").result_rows}
    assert settings >= FORMATTING
    for name in sorted(settings - FORMATTING - set(LIMITS) - TRANSPORT - {"compress"}):
        with pytest.raises(QueryFailed, match="READONLY"):
            _settings({name: "1"})
    kinds = "SELECT name FROM system.settings WHERE type IN ('String', 'URI', 'Map')"
    texts = {name for (name,) in client.query(kinds).result_rows} & FORMATTING
    assert {name for name in texts if "representation" not in name and "charset" not in name} == set()


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 1 AS x FORMAT Template SETTINGS format_template_row = '{file}'",
        "SELECT 1 AS x SETTINGS format_template_row = '{file}' FORMAT Template",
        "SELECT * FROM (SELECT 1 SETTINGS max_execution_time = 0)",
        "SELECT 1 FORMAT Protobuf SETTINGS format_schema = '{file}:x'",
        "SELECT 1 FORMAT AvroConfluent SETTINGS format_avro_schema_registry_url = 'http://127.0.0.1:1/'",
        "SELECT formatRow('Template', 1)",
        "SELECT formatRowNoNewline('CapnProto', 1)",
        "SELECT * FROM format(Template, 'x') SETTINGS format_template_row = '{file}'",
    ],
)
def test_no_setting_names_a_file_or_a_server(port: int, query: str, tmp_path: Path) -> None:
    """Neither in the statement, nor in the address, nor in a form."""
    secret = tmp_path / "secret"
    secret.write_text("${x:Escaped} to be kept")
    statement = query.replace("{file}", str(secret))
    named = {"format_template_row": str(secret), "format_schema": f"{secret}:x"}

    for answer in (
        get(port, statement),
        get(port, "SELECT 1 AS x FORMAT Template", **named),
        httpx.post(f"http://127.0.0.1:{port}/", data={"query": "SELECT 1 AS x", **named}, files={"f": b""}),
    ):
        assert answer.status_code >= 400
        assert "to be kept" not in answer.text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "[::1].evil"}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({}, 200),
    ],
)
@pytest.mark.parametrize("path", ["/", "/health", "/metrics", "/ping"])
def test_no_other_site_is_answered(port: int, path: str, headers: dict[str, str], status: int) -> None:
    """On no path of the port."""
    assert httpx.get(f"http://127.0.0.1:{port}{path}", headers=headers).status_code == status


FORM = b"POST / HTTP/1.0\r\nHost: localhost\r\nContent-Type: multipart/form-data"
MALFORMED = [
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\xff\xfe: x\r\n\r\n",
    b"GET /?query=%ff%fe HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    b"GET /?query=SELECT+1&query_id=%0d%0aX:1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    b"GET /?query=SELECT+%7Ba:String%7D&param_a=%00&param_=1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nConnection: close\r\n\r\n\xff\xfe",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
    FORM + b"\r\nContent-Length: 2\r\n\r\nab",
    FORM + b"; boundary=x\r\nContent-Length: 8\r\n\r\n--x\r\n\r\n\xff",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\nConnection: close\r\n\r\nab",
    b"\x16\x03\x01\x02\x00 this is TLS\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"A: " + b"x" * 70_000 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic //////8=\r\nConnection: close\r\n\r\n",
    *(
        b"GET /?query=SELECT+1 HTTP/1.1\r\nHost: localhost\r\nX-Backplane-Workflows: %b\r\nConnection: close\r\n\r\n"
        % value
        for value in (b"{", b"[" * 7_000, b"[1,null,{}]", b"7", b'{"a":1}', b"null")
    ),
    FORM + b"; boundary=x\r\nContent-Length: 20\r\n\r\n--x\r\nnothing here..\r\n",
]


@pytest.mark.parametrize("raw", MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_requests_leave_no_traceback(port: int, raw: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """Each is answered or cut off; the next one is served."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as wire:
        wire.sendall(raw)
        said = b"".join(iter(lambda: wire.recv(65_536), b""))

    assert not said or said.startswith(b"HTTP/1.")
    assert b" 500 " not in said.split(b"\r\n", 1)[0]
    assert get(port, "SELECT 1").text == "1\n"
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (b"GET /ping HTTP/1.1\r\nHost: localhost\r\nX: ", b""),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nSELECT", b"HTTP/1.1 408"),
    ],
)
def test_half_a_request_is_not_waited_for_without_an_end(
    part: bytes, said: bytes, monkeypatch: pytest.MonkeyPatch, engine: Engine
) -> None:
    """Else who sends nothing more keeps a connection for good, and the process has only so many."""
    monkeypatch.setattr("backplane.store.http.HANDLER_ARGS", {**HANDLER_ARGS, "keepalive_timeout": 0.2})
    monkeypatch.setattr("backplane.store.http.BODY_S", 0.2)
    for port in serving(make_server(engine, _healthy)):
        with socket.create_connection(("127.0.0.1", port), timeout=20) as wire:
            wire.sendall(part)
            answer = b"".join(iter(lambda: wire.recv(65_536), b""))  # read here

    assert answer.startswith(said)
    assert bool(answer) == bool(said)


def test_a_result_too_large_is_an_error_not_a_part_of_it(port: int, client: Any) -> None:
    """Also when the first rows are out already: the connection is cut, so no client takes the part for the whole."""
    assert get(port, "SELECT number FROM numbers(2000000)", wait_end_of_query="1").status_code == 413
    with pytest.raises((DatabaseError, StreamFailureError)):
        client.query("SELECT number FROM numbers(2000000)")
    with pytest.raises(httpx.RemoteProtocolError):
        get(port, "SELECT throwIf(number = 900000) FROM numbers(1000000) FORMAT CSV")


def test_a_query_that_takes_too_long_is_ended(port: int) -> None:
    """By its own limit or by ours."""
    answer = get(port, "SELECT count() FROM numbers(100000000000)", max_execution_time="1")

    assert (answer.status_code, answer.headers["X-ClickHouse-Exception-Code"]) == (408, "159")


def test_queries_run_side_by_side_and_do_not_stop_inserts(port: int, database: Database) -> None:
    """Four at a time; a writer gets through while they run."""
    took: list[float] = []

    def ask() -> None:
        began = time.monotonic()
        get(port, "SELECT sleep(3)")
        took.append(time.monotonic() - began)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    database.writer.write(database.writer.prepare(records(article().facts)))
    assert not took, "the insert waited for a query"
    for thread in threads:
        thread.join()
    assert sum(took) > 2 * (time.monotonic() - began), "one after the other, the sum would be the whole"


def test_ping_and_health(port: int) -> None:
    """What load balancers and the supervisor ask."""
    assert httpx.get(f"http://127.0.0.1:{port}/ping").text == "Ok.\n"
    assert httpx.get(f"http://127.0.0.1:{port}/health").json() == {"status": "ok", "lag": {"bp.runs": 0}}


def test_a_client_that_goes_away_leaves_nothing_behind(port: int, client: Any) -> None:
    """The handle of a stream that nobody reads on is closed."""
    query = {"query": "SELECT number FROM numbers(900000)"}
    with httpx.stream("GET", f"http://127.0.0.1:{port}/", params=query) as answer:
        next(answer.iter_bytes())

    assert client.command("SELECT 1") == 1
