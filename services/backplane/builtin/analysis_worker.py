"""The process in which one question of ``data_analysis`` is answered: ``python -m …analysis_worker FOLDER``.

It reads its job as JSON from stdin and writes its answer as JSON to stdout. Walls around the question, the first that
stands is enough, and tests try each of them:
1. the statement is one SELECT whose tables and functions stay within the engine, by the engine's own parser;
2. the engine reads only (``readonly``), which bars the table functions that read files, URLs and other servers. Its
   default database is dropped, because every file of the machine is a table in it;
3. the process can open no file but its inputs and its own code, and no connection (Landlock, where the kernel has it);
4. time, memory, rows, bytes and the size of files are bounded; the caller kills a process that hangs.
"""

from __future__ import annotations

import importlib.util
import json
import re
import resource
import sys
import sysconfig
from pathlib import Path
from typing import Any, Final

from backplane.builtin.confine import confine
from backplane.store.engine import QueryFailed
from backplane.store.read_only import Statements

DATABASE: Final = "data"
MEMORY_BYTES: Final = 1 << 30
"""Of the whole engine: inputs are kept in memory, so that questions need no right to read files."""
RESULT_BYTES: Final = 64 << 20
THREADS: Final = 2
GRACE_SECONDS: Final = 30
"""Processor time besides the question's own: to load the engine and the inputs."""
ENGINE_READS: Final = ("/proc", "/sys", "/dev", "/usr/share/zoneinfo", "/etc/localtime", "/etc/timezone")
SYSTEM_CODE: Final = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache")
FORMATS: Final = {
    "csv": "CSVWithNames",
    "tsv": "TabSeparatedWithNames",
    "jsonl": "JSONEachRow",
    "json": "JSON",
    "parquet": "Parquet",
}
FRAME: Final = re.compile(r"Query failed: |Code: \d+\. |DB::Exception: | \(version [^)]*\)\.?")
MESSAGE_CHARS: Final = 500
SETTINGS: Final = {
    "max_memory_usage": MEMORY_BYTES,
    "max_result_bytes": RESULT_BYTES,
    "result_overflow_mode": "throw",
    "max_threads": THREADS,
    "allow_introspection_functions": 0,
    "output_format_json_quote_64bit_integers": 0,
    "output_format_json_quote_decimals": 1,
    "input_format_parallel_parsing": 0,
}


class Refused(Exception):
    """The question cannot be answered; ``code`` and text go to the caller."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def main() -> None:
    """Reads, confines itself, answers."""
    job = json.load(sys.stdin)
    folder = Path(sys.argv[1])
    _bound(float(job["max_seconds"]))
    confine([*(Path(table["path"]) for table in job["tables"]), *code(), *map(Path, ENGINE_READS)], [folder])
    # only now: it starts threads when it is loaded, and what was taken away before they start is taken from them, too
    import chdb

    try:
        answer = answered(chdb.connect(f"file::memory:?max_server_memory_usage={MEMORY_BYTES}"), job, folder)
    except Refused as refused:
        answer = {"refused": {"code": refused.code, "message": str(refused)}}
    json.dump(answer, sys.stdout)


def code() -> list[Path]:
    """Where this process's own code is: Python's library, what is installed, and our packages."""
    spec = importlib.util.find_spec("agents_sdk")  # not imported: its folder is looked for, in a checkout or a wheel
    sdk = [Path(spec.origin).parent] if spec is not None and spec.origin else []
    python = [Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    return [Path(__file__).parents[1], *sdk, *python, *map(Path, SYSTEM_CODE)]


def _bound(seconds: float) -> None:
    processor = int(seconds * THREADS) + GRACE_SECONDS
    for limit, value in (
        (resource.RLIMIT_CPU, processor),
        (resource.RLIMIT_FSIZE, RESULT_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (value, value))


def answered(engine: Any, job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The answer. Raises Refused."""
    _run(engine, f"CREATE DATABASE {DATABASE} ENGINE = Atomic")
    for setting, value in {**SETTINGS, "max_execution_time": job["max_seconds"]}.items():
        _run(engine, f"SET {setting} = {value!r}")
    for table in job["tables"]:
        _load(engine, table)
    _run(engine, f"USE {DATABASE}")
    check(Statements(engine), engine, job["sql"])
    _run(engine, "DROP DATABASE default")
    rows = job["output"] == "rows"
    if rows:
        _run(engine, f"SET limit = {int(job['max_rows']) + 1}")
    _run(engine, "SET readonly = 1")
    found = _run(engine, job["sql"], "JSONCompact" if rows else FORMATS[job["output"]])
    if not rows:
        (folder / "answer").write_bytes(found)
        return {"file": "answer"}
    return _rows(json.loads(found), int(job["max_rows"]))


def _rows(document: dict[str, Any], limit: int) -> dict[str, Any]:
    rows = document["data"]
    return {
        "columns": document["meta"],
        "rows": rows[:limit],
        "row_count": len(rows[:limit]),
        "truncated": len(rows) > limit,
    }


def _load(engine: Any, table: dict[str, str]) -> None:
    path = table["path"].replace("\\", "\\\\").replace("'", "\\'")
    try:
        source = f"file('{path}', '{FORMATS[table['format']]}')"
        # the name is checked by the capability's contract, the path is ours
        create = f"CREATE TABLE {DATABASE}.{table['name']} ENGINE = Memory AS SELECT * FROM {source}"  # noqa: S608
        _run(engine, create)
    except Refused as refused:
        raise Refused("bad_input", f"input {table['name']!r} is no {table['format']}: {refused}") from refused


def check(statements: Any, engine: Any, sql: str) -> None:
    """Raises Refused unless the statement is one SELECT of the given tables."""
    try:
        statement = statements.check(sql, {})
    except QueryFailed as refused:
        raise Refused("refused_sql", plain_message(str(refused))) from refused
    if not statement.selects:
        raise Refused("refused_sql", "only SELECT is answered here")
    if statement.format:
        raise Refused("refused_sql", f"FORMAT {statement.format} is not answered here; say `output` instead")
    tree = _run(engine, f"EXPLAIN AST {sql}", "TSVRaw").decode()
    for line in tree.splitlines():
        kind, _, name = line.strip().partition(" ")
        database, dot, _ = name.partition(".")
        if kind == "TableIdentifier" and dot and database != DATABASE:
            raise Refused(
                "refused_sql", f"{name.split(' (')[0]!r} is none of the inputs; a table is named as its input"
            )


def _run(engine: Any, sql: str, format_: str = "TSVRaw") -> bytes:
    try:
        result = engine.query(sql, format_)
    except RuntimeError as error:
        raise Refused("bad_sql", plain_message(str(error))) from error
    return bytes(result.bytes()) if result is not None else b""


def plain_message(text: str) -> str:
    """ClickHouse's message without its own frame, its version and its stack."""
    plain = FRAME.sub("", text.partition(", Stack trace")[0])
    return " ".join(plain.split())[:MESSAGE_CHARS]


if __name__ == "__main__":
    main()
