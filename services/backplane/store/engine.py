"""The embedded ClickHouse engine of this process: one writer's client, and queries that can only read.

chDB allows one process a path and one path a process, but any number of handles. A handle takes 1.3 ms to open, so each
query gets its own, with nothing left over from the one before.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from backplane.access.row_rules import SETTING
from backplane.store.formats import FORMATS
from backplane.store.read_only import Statement, Statements

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

SERVER: Final = {"max_server_memory_usage": 3 * 2**30, "mark_cache_size": 64 * 2**20}
"""Of the whole engine, bytes: a laptop runs it beside all else. The defaults are 90 % of the machine and 5 GB."""
LIMITS: Final[dict[str, int | str]] = {
    "max_execution_time": 30,
    "max_result_rows": 1_000_000,
    "max_result_bytes": 256 * 2**20,
    "max_memory_usage": 2**30,
    "result_overflow_mode": "throw",
}
"""Of one query: seconds, rows, bytes. A query may ask for less."""
STREAMABLE: Final = frozenset({"Native", "TabSeparated", "TSV", "CSV", "RowBinary", "JSONEachRow"})
"""Formats whose blocks, one after the other, are a valid whole; others have a header or footer and come at once."""
CODE: Final = re.compile(r"Code: (\d+)\.")


class QueryFailed(Exception):
    """ClickHouse refused or could not finish the query; ``code`` is its own, the text begins with it."""

    def __init__(self, message: str) -> None:
        message = message[message.find("Code: ") :] if "Code: " in message else f"Code: 1002. DB::Exception: {message}"
        super().__init__(message)
        found = CODE.match(message)
        self.code = int(found.group(1)) if found else 1002


@dataclass
class Answer:
    """A query's result: bytes in ``format``, all at once or block by block."""

    format: str
    chunks: Iterator[bytes]
    """Never empty ones."""
    summary: dict[str, str]

    def close(self) -> None:
        """Gives the query up; harmless when it is done. Not while another thread takes a chunk."""
        if isinstance(self.chunks, Generator):
            self.chunks.close()


class Engine:
    """The engine at one path. Its methods may be called from any thread."""

    def __init__(self, path: Path) -> None:
        import chdb

        path.mkdir(parents=True, exist_ok=True)
        self._chdb = chdb
        self._path = os.path.realpath(path)
        self._connection = f"{self._path}?{urlencode(SERVER)}"
        self._keep = chdb.connect(self._connection)  # while one handle is open, the engine stays
        self._statements = Statements(self._keep)

    def client(self, database: str = "") -> Client:
        """A client for ourselves: it may do everything."""
        import clickhouse_connect

        options = {name: str(value) for name, value in SERVER.items()}
        return clickhouse_connect.get_client(
            interface="chdb", path=self._path, database=database or None, chdb_options=options
        )

    def connection(self) -> Any:
        """A chDB connection of its own to the engine, to be closed; what it may do is not limited."""
        return self._chdb.connect(self._connection)

    def query(
        self,
        sql: str,
        parameters: Mapping[str, str],
        settings: Mapping[str, str],
        database: str,
        default_format: str,
        whole: bool,
        rules: str = "",
    ) -> Answer:
        """Runs one reading statement.

        Args:
            sql: the statement.
            parameters: values of its ``{name:Type}``.
            settings: they may only tighten or format.
            database: where names without one are looked up.
            default_format: of the answer, where the statement names none.
            whole: the answer comes in one piece, not block by block.
            rules: which rows may be read, see ``services/backplane/access/row_rules.py``; empty: all. With rules,
                nothing but ``database`` is read.

        Raises:
            QueryFailed: not a reading statement, a syntax error, a limit exceeded, …
        """
        statement = self._statements.check(sql, parameters, database if rules else "")
        chosen = statement.format or default_format
        if chosen not in FORMATS:
            raise QueryFailed(f"Code: 73. DB::Exception: Format {chosen:.100} is not answered here. (UNKNOWN_FORMAT)")
        handle = self._handle(settings, database, rules)
        try:
            if statement.selects and chosen in STREAMABLE and not whole:
                stream = handle.send_query(sql, chosen, params=dict(parameters))
                return Answer(chosen, _blocks(stream, handle), {})
            return self._all(handle, sql, chosen, parameters, statement)
        except BaseException as error:
            handle.close()
            if isinstance(error, (RuntimeError, ValueError, TypeError, OverflowError)):
                raise QueryFailed(str(error)) from error
            raise

    def _all(self, handle: Any, sql: str, chosen: str, parameters: Mapping[str, str], statement: Statement) -> Answer:
        began = time.monotonic_ns()
        result = handle.query(sql, chosen, params=dict(parameters))
        data = bytes(result.bytes() or b"") if result is not None else b""
        summary = {
            "read_rows": str(result.storage_rows_read() if result is not None else 0),
            "read_bytes": str(result.storage_bytes_read() if result is not None else 0),
            "written_rows": "0",
            "written_bytes": "0",
            "result_rows": str(result.rows_read() if result is not None else 0),
            "elapsed_ns": str(time.monotonic_ns() - began),
        }
        del result
        handle.close()
        return Answer(chosen, iter((data,)), summary)

    def _handle(self, settings: Mapping[str, str], database: str, rules: str) -> Any:
        handle = self.connection()
        try:
            if database:
                handle.query(f"USE `{database.replace('`', '')}`")
            # one statement: one each took as long as all else of a small question
            made = {**LIMITS, **settings, "readonly": 1}
            ruled = f"{SETTING} = {rules}, " if rules else ""
            handle.query(f"SET {ruled}{', '.join(f'{name} = {_quoted(value)}' for name, value in made.items())}")
        except RuntimeError as error:
            handle.close()
            raise QueryFailed(str(error)) from error
        return handle

    def close(self) -> None:
        """Ends the engine when nothing else uses it."""
        self._keep.close()


def parser() -> Any:
    """A connection to an engine in memory: it parses records where the store is a server elsewhere."""
    import chdb

    return chdb.connect(f":memory:?{urlencode(SERVER)}")


def _blocks(stream: Any, handle: Any) -> Iterator[bytes]:
    try:
        for chunk in stream:
            if data := bytes(chunk.bytes()):
                yield data
    except RuntimeError as error:
        raise QueryFailed(str(error)) from error
    finally:
        stream.close()
        handle.close()


def _quoted(value: int | str) -> str:
    return "'" + str(value).replace("\\", "\\\\").replace("'", "\\'") + "'"
