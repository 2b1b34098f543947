"""Questions to the store: one SQL file each, parameters bound, answers as rows of a named type.

``connect_store`` is how every other process reaches the store: over HTTP, whether it is the embedded engine in the sink
or a ClickHouse server.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar
from urllib.parse import urlsplit

import msgspec

from agents_sdk.addresses import shown
from agents_sdk.errors import BackplaneError, Unreachable
from agents_sdk.proxies import ProxyUnusable, proxy_for, unread
from backplane.access import row_rules
from backplane.access.principals import service_token

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from agents_sdk.settings import Settings

FOLDER: Final = Path(__file__).parents[1] / "insight" / "sql"
CONNECT_S: Final = 5
ANSWER_S: Final = 60

A = TypeVar("A", bound=msgspec.Struct)


class QueryRefused(BackplaneError):
    """The store did not answer the question; ``fields["code"]`` is ClickHouse's code."""

    code: ClassVar[str] = "query_failed"


def connect_store(settings: Settings, database: str | None = None, workflows: tuple[str, ...] | None = None) -> Client:
    """A clickhouse-connect client of the store.

    Args:
        settings: where it is, and its login. Without one, the platform's own service token is shown, if we may read it.
        database: instead of the one in the settings; "" for the server's own default.
        workflows: the client is to see the runs of these alone; None: all.

    Raises:
        Unreachable: no store, or no answer.
    """
    if not settings.clickhouse.url:
        raise Unreachable(
            "no store is configured", hint="run `backplane up`, or set BACKPLANE_CLICKHOUSE__URL", server="store"
        )
    import clickhouse_connect
    from clickhouse_connect.driver.exceptions import Error
    from clickhouse_connect.driver.httputil import default_pool_manager

    url = urlsplit(settings.clickhouse.url)
    narrowed = None if workflows is None else {"X-Backplane-Workflows": json.dumps(list(workflows))}
    proxy = proxy_for(settings.clickhouse.url, os.environ)
    # over http the driver asks the environment only where it is given no pool; the lock is not held while it connects
    plain = url.scheme != "https"
    try:
        with nullcontext() if plain else unread(settings.clickhouse.url):
            return clickhouse_connect.get_client(
                pool_mgr=default_pool_manager() if plain and proxy is None else None,
                http_proxy=proxy.url if plain and proxy is not None else None,
                interface=url.scheme or "http",
                host=url.hostname or "127.0.0.1",
                port=url.port or (8443 if url.scheme == "https" else 8123),
                username=settings.clickhouse.username or "default",
                password=settings.clickhouse.password.get_secret_value() or service_token(Path(settings.data_dir)),
                database=settings.clickhouse.database if database is None else database or "default",
                connect_timeout=CONNECT_S,
                send_receive_timeout=ANSWER_S,
                autogenerate_session_id=False,
                headers=narrowed,
                settings=_ruled(settings, workflows),
            )
    except Error as error:
        raise Unreachable(
            f"the store at {shown(settings.clickhouse.url)} does not answer: {shown(_short(error))}",
            hint="check `backplane status`",
            server="store",
        ) from error


def _ruled(settings: Settings, workflows: tuple[str, ...] | None) -> dict[str, str] | None:
    """A ClickHouse server of its own does not know our header: it is given the rules themselves."""
    if workflows is None or health(settings):
        return None
    return {row_rules.SETTING: row_rules.filters(settings.clickhouse.database, workflows)}


@cache
def question(name: str) -> str:
    """The SQL of ``sql/<name>.sql``."""
    return (FOLDER / f"{name}.sql").read_text()


def ask(client: Client, name: str, answer: type[A], **parameters: Any) -> list[A]:
    """The rows of one question, each as an ``answer``, whose fields are named as the columns. Fields that the question
    does not have keep their defaults.

    Raises:
        QueryRefused: ClickHouse's own error.
        Unreachable: no answer.
    """
    result = query(client, question(name), parameters)
    names, fields = result.column_names, answer.__struct_fields__
    if len(names) < len(fields):
        return [answer(**dict(zip(names, row, strict=True))) for row in result.result_rows]
    # column by column: a dict a row is three quarters of the time that 10,000 facts take
    columns = dict(zip(names, result.result_columns, strict=True))
    return list(map(answer, *(columns[name] for name in fields)))


def query(client: Client, sql: str, parameters: dict[str, Any] | None = None) -> Any:
    """Answers of the store. Raises as ``ask``."""
    with store_errors():
        return client.query(sql, parameters=parameters)


def raw(client: Client, sql: str, fmt: str | None) -> bytes:
    """The store's answer, as ClickHouse writes it in this format, or in the one that the statement names. Raises as
    ``ask``."""
    with store_errors():
        return client.raw_query(sql, fmt=fmt)


@contextmanager
def store_errors() -> Iterator[None]:
    """The driver's errors as ours; a test proves that none gets by."""
    from clickhouse_connect.driver.exceptions import Error, OperationalError, StreamFailureError

    try:
        yield
    except (OperationalError, StreamFailureError) as error:
        raise Unreachable(
            f"the store does not answer: {_short(error)}", hint="check `backplane status`", server="store"
        ) from error
    except Error as error:
        hint = "`backplane sql 'SHOW TABLES'` lists the tables and views"
        raise QueryRefused(_short(error), hint=hint, code=getattr(error, "code", None)) from error


def health(settings: Settings) -> dict[str, Any]:
    """The sink's report about itself; empty where it cannot be asked, as with an external server."""
    import httpx

    token = service_token(Path(settings.data_dir))
    shown = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        address = f"{settings.clickhouse.url.rstrip('/')}/health"
        proxy = proxy_for(address, os.environ)
        said = httpx.get(address, timeout=CONNECT_S, proxy=proxy and proxy.url, trust_env=False, headers=shown).json()
    except (httpx.HTTPError, ProxyUnusable, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def behind(settings: Settings) -> int | None:
    """How many facts the store lacks, asked of the sink; None where it cannot be asked."""
    return lag_of(health(settings))


def lag_of(said: dict[str, Any]) -> int | None:
    """How many facts the store lacks, by what the sink says; None where it does not."""
    return sum(said["lag"].values()) if said.get("lag") else None


def _short(error: Exception) -> str:
    """The driver's text without its URL and its stack of wrappers."""
    text = str(error)
    start = text.find("Code: ")
    text = text[start:] if start >= 0 else text
    return text.split(" (for url ")[0].strip()
