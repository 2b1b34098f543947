"""SQL over files by the real engine in its own process: what it answers, and each way out of it, tried."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backplane.builtin.analysis import data_analysis
from backplane.recovery.outcome import ProviderError
from tests.support.catalogue import Bench

Ask = Callable[..., Any]
SALES = "who,amount,day\na,1.5,2026-01-02\nb,2,2026-01-03\na,3,2026-01-03\n"
SECRET = "a-secret-of-the-host"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def ask(bench: Bench) -> Ask:
    """One question about ``sales``, held to the capability's contract."""

    def asked(sql: str, **params: Any) -> Any:
        inputs = [{"name": "sales", "text": SALES}]
        return bench.call("data_analysis", data_analysis, {"sql": sql, "inputs": inputs, **params})

    return asked


def refused(ask: Ask, sql: str, **params: Any) -> str:
    """The refusal in words; it must be the asker's mistake, so that nobody tries it again."""
    with pytest.raises(ProviderError) as caught:
        ask(sql, **params)
    assert caught.value.error_class == "invalid_request", caught.value
    return str(caught.value)


def test_rows_come_with_their_columns(ask: Ask) -> None:
    """In order, exact, with types; what JSON has no form for is text or null."""
    answer = ask(
        "SELECT who, sum(amount) AS total, max(day) AS last, nan, 18446744073709551615 "
        "FROM sales GROUP BY who ORDER BY who"
    )

    assert [column["name"] for column in answer["columns"]][:3] == ["who", "total", "last"]
    assert answer["rows"] == [
        ["a", 4.5, "2026-01-03", None, 18446744073709551615],
        ["b", 2, "2026-01-03", None, 18446744073709551615],
    ]
    assert (answer["row_count"], answer["truncated"]) == (2, False)


def test_more_rows_than_wanted_are_cut_and_said_to_be(ask: Ask) -> None:
    """Exactly as many as there are is not more."""
    assert ask("SELECT 1 FROM sales", max_rows=2)["truncated"]
    assert not ask("SELECT 1 FROM sales", max_rows=3)["truncated"]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_an_answer_may_be_a_file_and_be_asked_again(ask: Ask, bench: Bench, kind: str) -> None:
    """Whatever its format; by its kind alone the next question knows how to read it."""
    file = ask("SELECT who, amount FROM sales", output=kind)["artifact"]

    again = {"inputs": [{"name": "before", "artifact": file}]}
    assert ask("SELECT sum(amount) AS total FROM before", **again)["rows"] == [[6.5]]


def test_questions_join_their_inputs(ask: Ask) -> None:
    """Common table expressions, subqueries and functions of the engine."""
    people = {"name": "people", "text": '{"id": "a", "name": "Ann"}', "format": "jsonl"}
    sql = (
        "WITH busy AS (SELECT who FROM sales GROUP BY who HAVING count() > 1) "
        "SELECT name FROM people WHERE id IN (SELECT who FROM busy)"
    )

    assert ask(sql, inputs=[{"name": "sales", "text": SALES}, people])["rows"] == [["Ann"]]


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("SELECT nosuch FROM sales", "nosuch"),
        ("SELECT * FROM nosuch", "nosuch"),
        ("SELEC 1", "Syntax error"),
        ("SELECT 1; SELECT 2", "Multi-statements"),
        ("SELECT 1 FORMAT CSV", "output"),
        ("SHOW TABLES", "only SELECT"),
    ],
)
def test_a_question_that_is_wrong_is_told_why(ask: Ask, sql: str, says: str) -> None:
    """In the engine's own words, without its frame."""
    told = refused(ask, sql)
    assert says in told
    assert "Stack trace" not in told


def test_an_input_that_is_not_what_it_says_is_named(ask: Ask, bench: Bench) -> None:
    """The table, and what it should have been."""
    text = bench.artifacts.put(b"no parquet", "application/vnd.apache.parquet").descriptor()
    assert "'bad' is no parquet" in refused(ask, "SELECT 1", inputs=[{"name": "bad", "artifact": text}])
    odd = bench.artifacts.put(b"x", "application/x-odd").descriptor()
    assert "application/x-odd" in refused(ask, "SELECT 1", inputs=[{"name": "odd", "artifact": odd}])


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM file('{path}', 'LineAsString', 'line String')",
        "SELECT file('{path}')",
        "SELECT * FROM `{path}`",
        "SELECT * FROM default.`{path}`",
        "SELECT * FROM sales, default.`{path}` AS b",
        "SELECT * FROM (SELECT * FROM view(SELECT * FROM default.`{path}`))",
        "SELECT 'x' IN default.`{path}`",
        "SELECT * FROM merge('default', '.*')",
        "SELECT * FROM loop(default.`{path}`)",
        "SELECT * FROM fileCluster('c', '{path}', 'LineAsString', 'line String')",
        "SELECT * FROM executable('cat {path}', 'LineAsString', 'line String')",
        "SELECT * FROM sqlite('{path}', 't')",
        "SELECT * FROM system.settings",
        "SELECT * FROM information_schema.tables",
        "SELECT * FROM sales INTO OUTFILE '{folder}/out.csv'",
        "INSERT INTO FUNCTION file('{folder}/out.csv', 'CSV', 'a Int8') VALUES (1)",
        "INSERT INTO sales VALUES ('x', 1, today())",
        "CREATE TABLE t ENGINE = File('CSV') AS SELECT 1",
        "CREATE DATABASE f ENGINE = Filesystem('/')",
        "ATTACH DATABASE f ENGINE = Filesystem('/')",
        "BACKUP DATABASE data TO File('{folder}/out')",
        "DROP TABLE sales",
        "SET readonly = 0",
        "SELECT 1 SETTINGS readonly = 0",
        "SELECT 1 SETTINGS max_execution_time = 0",
        "SYSTEM SHUTDOWN",
        "KILL QUERY WHERE 1",
        "EXPLAIN SELECT * FROM file('{path}')",
        "SELECT * FROM url('http://127.0.0.1:{port}/', 'LineAsString', 'line String')",
        "SELECT * FROM s3('http://127.0.0.1:{port}/b/k', 'LineAsString', 'line String')",
        "SELECT * FROM remote('127.0.0.1:{port}', system.one)",
        "SELECT * FROM mysql('127.0.0.1:{port}', 'd', 't', 'u', 'p')",
        "SELECT * FROM postgresql('127.0.0.1:{port}', 'd', 't', 'u', 'p')",
        "SELECT * FROM iceberg('http://127.0.0.1:{port}/b')",
        "SELECT dictGet('d', 'a', 1)",
        "SELECT catboostEvaluate('{path}', 1)",
    ],
)
def test_no_question_reaches_beyond_its_inputs(ask: Ask, listener: _Listener, tmp_path: Path, sql: str) -> None:
    """No file, server, process or table of the engine itself, to read or to write; nothing is even tried."""
    path, folder = tmp_path / "secret.csv", tmp_path / "folder"
    path.write_text(SECRET)
    folder.mkdir()

    told = refused(ask, sql.format(path=path, folder=folder, port=listener.port))

    assert SECRET not in told
    assert list(folder.iterdir()) == []
    assert listener.asked == []


@pytest.mark.parametrize(
    ("sql", "params", "says"),
    [
        ("SELECT max(sipHash64(number)) FROM numbers(1000000000000)", {"max_seconds": 0.5}, "Timeout"),
        ("SELECT sleep(3) FROM numbers(100)", {"max_seconds": 0.5}, ""),
        ("SELECT groupArray(number) FROM numbers(1000000000)", {}, "memory limit"),
        ("SELECT repeat('x', 1000000000)", {}, ""),
        ("SELECT number, randomPrintableASCII(1000) FROM numbers(2000)", {"max_rows": 2000}, "limit"),
        ("SELECT randomString(1000000) FROM numbers(1000)", {"output": "csv"}, ""),
    ],
)
def test_time_memory_and_size_are_bounded(ask: Ask, sql: str, params: dict[str, Any], says: str) -> None:
    """Whatever the question asks for, it ends, and the executor lives."""
    assert says in refused(ask, sql, **params)


def test_the_worker_itself_can_open_no_file_and_no_connection(tmp_path: Path, listener: _Listener) -> None:
    """The last wall, by itself: Landlock. Skipped on a kernel that has none."""
    path, given = tmp_path / "secret", tmp_path / "given"
    path.write_text(SECRET)
    given.write_text("given")
    folder = tmp_path / "folder"
    folder.mkdir()
    code = f"""
import json, socket
from pathlib import Path
from backplane.builtin.confine import confine
def tried(what):
    try:
        what()
        return "done"
    except OSError as error:
        return type(error).__name__
version = confine([Path({str(given)!r})], [Path({str(folder)!r})])
print(json.dumps([version, *(tried(what) for what in (
    lambda: Path({str(given)!r}).read_text(),
    lambda: Path({str(folder)!r}, "made").write_text("x"),
    lambda: Path({str(path)!r}).read_text(),
    lambda: Path({str(given)!r}).write_text("x"),
    lambda: Path({str(tmp_path)!r}, "made").write_text("x"),
    lambda: list(Path("/etc").iterdir()),
    lambda: socket.create_connection(("127.0.0.1", {listener.port}), timeout=5),
))]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    version, *outcomes = json.loads(done.stdout)

    if version == 0:
        pytest.skip("this kernel has no Landlock")
    assert outcomes[:6] == ["done", "done", *["PermissionError"] * 4]
    assert outcomes[6] == "PermissionError" or version < 4


WALLS = """
import sys
from pathlib import Path
from backplane.builtin import analysis_worker as worker
from backplane.builtin.confine import confine
wall, folder = sys.argv[1], Path(sys.argv[2])
if wall == "landlock" and confine([*worker.code(), *map(Path, worker.ENGINE_READS)], [folder]) == 0:
    print("absent")
    sys.exit()
import chdb
engine = chdb.connect("file::memory:")
if wall == "readonly":
    for sql in ("CREATE DATABASE data ENGINE = Atomic", "USE data", "DROP DATABASE default", "SET readonly = 1"):
        worker._run(engine, sql)
for sql in sys.argv[3:]:
    try:
        print(worker._run(engine, sql).decode())
    except worker.Refused:
        print("held")
"""


@pytest.mark.parametrize("wall", ["readonly", "landlock"])
def test_each_wall_holds_without_the_others(tmp_path: Path, wall: str) -> None:
    """The engine's own, and the kernel's, which must hold for threads of the engine as well: no file can be read by a
    table function or as a table of the default database."""
    path, folder = tmp_path / "secret.csv", tmp_path / "folder"
    path.write_text(SECRET)
    folder.mkdir()
    sql = [f"SELECT * FROM file('{path}', 'LineAsString', 'line String')", f"SELECT * FROM default.`{path}`"]

    done = subprocess.run(
        [sys.executable, "-c", WALLS, wall, str(folder), *sql],
        capture_output=True, text=True, check=True, timeout=100, env={"TMPDIR": str(folder)},
    )  # fmt: skip

    if done.stdout.strip() == "absent":
        pytest.skip("this kernel has no Landlock")
    assert done.stdout.split() == ["held", "held"]


class _Listener:
    """A server that answers with a secret, and remembers whether anybody came."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def handle(self) -> None:
                outer.asked.append(str(self.client_address))

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture(scope="module")
def listener() -> Iterator[_Listener]:
    made = _Listener()
    yield made
    made.close()
