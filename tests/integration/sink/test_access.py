"""Roles on the ports that people use: every page and view, as everybody; and rules of rows against all ways around."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import clickhouse_connect
import httpx
import msgspec
import pytest

from agents_sdk.settings import load_settings
from backplane.access.gate import Gate
from backplane.access.principals import Entry, digest, save, service_token
from backplane.access.row_rules import filters
from backplane.console.access import CSRF
from backplane.console.app import PAGES
from backplane.console.rights import RIGHTS, Right
from backplane.sink.rows import Record
from backplane.sink.writer import Writer
from backplane.store.engine import Engine
from backplane.store.http import Door, make_server
from backplane.store.migrate import migrate
from tests.integration.sink.conftest import _healthy, serving
from tests.support.console import console
from tests.support.oidc_provider import oidc_provider
from tests.support.stories import article, records

OPEN_RUN: Final = article().run_id
SECRET_RUN: Final = "0193ffff-0000-7000-8000-00000000005e"
SECRET: Final = "marmalade"
"""In every text of the run that a restricted viewer may not see."""
NAME: Final = "access"
TOKENS: Final = {"narrow": "t-narrow", "viewer": "t-viewer", "operator": "t-operator", "admin": "t-admin"}
PATHS: Final = {
    "{name}": OPEN_RUN,
    "{name:path}": "web_search",
    "{tab}": "timeline",
    "{topic}": "bp.runs",
    "{partition}": "0",
    "{offset}": "0",
    "{sha256}": "0" * 64,
    "{record}": "Command",
}


OF_KAFKA: Final = ("/live", "/books", "/topics", "/dead-letters/", "/capabilities", f"/runs/{OPEN_RUN}/")
"""Pages that ask Kafka, which is not here: that somebody is let in is not waited for."""


class Site(NamedTuple):
    """A console and a store that ask who comes in."""

    base: str
    store: int
    environment: dict[str, str]
    service: str


def _secret() -> list[Record]:
    """A run of another workflow, each text of which says the secret."""
    found = []
    for record in records(article(SECRET_RUN).facts, partition=1):
        row = record.row
        ids = ("kind", "run_id", "event_id", "causation_id", "command_id", "correlation_id", "root_run_id")
        texts = {
            name: f"{SECRET} {value}"
            for name, value in msgspec.structs.asdict(row).items()
            if isinstance(value, str) and value and name not in ids and not name.endswith("_id")
        }
        found.append(record._replace(row=msgspec.structs.replace(row, **texts)))
    return found


@pytest.fixture(scope="module")
def site(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("access")
    client = engine.client()
    migrate(client, NAME)
    writer = Writer(client, NAME)
    writer.write(writer.prepare([*records(article().facts), *_secret()]))
    roles = {"narrow": "viewer", "viewer": "viewer", "operator": "operator", "admin": "admin"}
    workflows = {"narrow": ("content",)}
    save(folder, [Entry(name, role, digest(TOKENS[name]), workflows.get(name)) for name, role in roles.items()])
    settings = load_settings(data_dir=folder, kafka={"bootstrap.servers": "127.0.0.1:1"})
    for port in serving(make_server(engine, _healthy, Door(Gate(settings)), NAME)):
        environment = {
            "BACKPLANE_DATA_DIR": str(folder),
            "BACKPLANE_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1",
            "BACKPLANE_CLICKHOUSE__URL": f"http://127.0.0.1:{port}",
            "BACKPLANE_CLICKHOUSE__DATABASE": NAME,
        }
        with console(environment, folder / "console.log") as base:
            yield Site(base, port, environment, service_token(folder))
    client.command(f"DROP DATABASE {NAME} SYNC")
    client.close()


def bearer(who: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKENS[who]}"} if who else {}


def test_every_route_has_a_right() -> None:
    """And no right is about a route that is none."""
    routes = {
        (method, route.path) for page in PAGES for route in page.router.routes for method in route.methods - {"HEAD"}
    }

    assert routes == set(RIGHTS)


def test_every_table_has_a_rule(site: Site) -> None:
    """A table that comes later fails here until it has one; views read tables."""
    url = f"http://127.0.0.1:{site.store}/"
    sql = f"SELECT database || '.' || name FROM system.tables WHERE database = '{NAME}' AND engine != 'View'"
    tables = set(httpx.get(url, params={"query": sql}, headers=bearer("admin")).text.split())

    assert tables
    assert all(f"'{table}'" in filters(NAME, ["content"]) for table in tables), tables


def _expected(right: Right, who: str) -> bool:
    role = {"narrow": "viewer"}.get(who, who)
    if not right.role:
        return True
    ranks = ("", "viewer", "operator", "admin")
    return ranks.index(role) >= ranks.index(right.role) and (who != "narrow" or right.restricted)


@pytest.mark.parametrize("who", ["", *TOKENS])
def test_each_role_uses_its_routes_and_no_other(site: Site, who: str) -> None:
    """A stranger is sent to the login or told; a role that is too low is told what it needs."""
    with httpx.Client(base_url=site.base, headers=bearer(who), timeout=60) as client:
        client.get("/login")
        form = {"csrf": client.cookies[CSRF]}
        for (method, template), right in RIGHTS.items():
            where = re.sub(r"\{[^}]*\}", lambda found: PATHS[found[0]], template)
            if where.startswith(OF_KAFKA) and _expected(right, who):
                continue
            answer = client.request(method, where, data=form if method == "POST" else None)
            refused = answer.status_code in (401, 403) and template not in ("/login", "/login/oidc/done", "/login/oidc")
            assert refused != _expected(right, who), (method, template, answer.status_code)


def test_a_restricted_viewer_finds_its_runs_and_no_trace_of_others(site: Site) -> None:
    """Whatever it follows, guesses or searches."""
    guesses = [
        f"/runs/{SECRET_RUN}",
        *(f"/runs/{SECRET_RUN}/{tab}" for tab in ("timeline", "events", "lineage", "cost", "state", "messages", "why")),
        *(f"/events/{topic}/1/{offset}" for topic in ("bp.runs", "bp.state", "bp.messages") for offset in range(4)),
        f"/live?run={SECRET_RUN}",
        "/live",
        f"/search?q={SECRET}",
        f"/state?run={SECRET_RUN}",
        f"/lineage?run={SECRET_RUN}",
        "/runs?workflow=content",
        f"/runs?workflow={SECRET}+content",
        "/sql?q=SELECT+*+FROM+events",
        "/sql?q=SELECT+*+FROM+v_messages&download=csv",
        "/sql?q=SELECT+*+FROM+merge('access','.*')",
        "/agents/research_agent",
        "/cost?by=agent&span=month",
    ]
    seen: dict[str, httpx.Response] = {}
    with httpx.Client(base_url=site.base, headers=bearer("narrow"), timeout=60, follow_redirects=True) as client:
        waiting = ["/", *guesses]
        while waiting and len(seen) < 90:
            where = waiting.pop(0)
            if where in seen or where.startswith("/static/"):
                continue
            seen[where] = answer = client.get(where)
            waiting += [link.replace("&amp;", "&") for link in re.findall(r'href="(/[^"#]*)', answer.text)]
    for where, answer in seen.items():
        # the page says again what it was asked
        text = answer.text.replace(where, "").replace(SECRET_RUN, "", 3 if SECRET_RUN in where else 0)
        assert SECRET not in text or SECRET in where, where
        assert answer.status_code < 500 or answer.status_code == 503, where
    assert any(OPEN_RUN in answer.text for answer in seen.values())
    assert seen[f"/runs/{SECRET_RUN}"].status_code == 404
    with httpx.Client(base_url=site.base, headers=bearer("viewer"), timeout=60) as client:
        assert SECRET in client.get(f"/runs/{SECRET_RUN}/timeline").text


AROUND = [
    "SELECT * FROM events",
    "SELECT * FROM access.events",
    "SELECT * FROM `access`.`events` AS e",
    "SELECT * FROM edges",
    "SELECT * FROM v_messages",
    "SELECT * FROM v_state_history",
    "SELECT * FROM v_lineage",
    "SELECT * FROM v_state_as_of(run = '{run}', at = '2100-01-01')",
    "SELECT * FROM run_workflows",
    "SELECT * FROM run_workflows_filled",
    "SELECT * FROM events WHERE run_id = '{run}'",
    "SELECT * FROM events PREWHERE 1 WHERE 1 OR run_id = '{run}'",
    "SELECT a.*, b.* FROM edges AS a RIGHT JOIN events AS b ON 1 = 1",
    "SELECT * FROM (SELECT * FROM events UNION ALL SELECT * FROM events)",
    "WITH x AS (SELECT * FROM events) SELECT * FROM x",
    "SELECT * FROM events SETTINGS additional_table_filters = {}",
    "SELECT * FROM (SELECT * FROM events SETTINGS additional_table_filters = {})",
    "SELECT * FROM events FINAL",
    "SELECT * FROM merge('access', '.*')",
    "SELECT * FROM merge(REGEXP('acc.*'), '.*')",
    "SELECT * FROM mergeTreeIndex('access', 'events')",
    "SELECT * FROM mergeTreeProjection('access', 'events', 'positions')",
    "SELECT * FROM loop('access', 'events') LIMIT 10",
    "SELECT * FROM view(SELECT * FROM access.events)",
    "SELECT * FROM viewExplain('EXPLAIN', '', (SELECT * FROM events))",
    "SELECT * FROM cluster('default', access.events)",
    "SELECT * FROM remote('127.0.0.1', access.events)",
    "SELECT * FROM system.tables",
    "SELECT * FROM system.parts_columns",
    "SELECT * FROM system.processes",
    "SELECT * FROM system.query_log",
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM `system`.`parts`",
    "SELECT 1 WHERE 'x' IN system.tables",
    "SELECT run_id IN (access.run_workflows) FROM events",
    "SELECT groupArray(value) FROM events",
    "SELECT arrayMap(x -> x, (SELECT groupArray(data) FROM events))",
    "SELECT (SELECT groupArray(input) FROM access.events)",
    "EXPLAIN SELECT * FROM events",
    "SHOW PROCESSLIST",
    "SHOW CREATE TABLE events",
    "DESCRIBE TABLE (SELECT * FROM events)",
    "SELECT * FROM other.events",
    "SELECT joinGet('access.events', 'value', '{run}')",
    "SELECT dictGet('x', 'y', 1)",
    "SELECT * FROM events LIMIT 1 BY run_id",
]


@pytest.mark.parametrize("sql", AROUND)
def test_no_statement_reads_around_the_rules(site: Site, sql: str) -> None:
    """It is refused, or shows what it may: neither the run's id nor any of its texts."""
    said = httpx.get(
        f"http://127.0.0.1:{site.store}/",
        params={"query": sql.replace("{run}", SECRET_RUN), "default_format": "JSON", "database": "system"},
        headers={**bearer("narrow"), "X-Backplane-Workflows": f'["{SECRET} content"]'},
    ).text
    shown = said.replace(f"'{SECRET_RUN}'", "")  # an error says the statement again

    assert SECRET not in shown
    assert SECRET_RUN not in shown


def test_the_rules_show_what_they_should(site: Site) -> None:
    """A restricted viewer counts its own facts, everybody else all; anybody may ask for less."""
    url, count = f"http://127.0.0.1:{site.store}/", {"query": f"SELECT count() FROM {NAME}.events"}
    own, every = len(article().facts), len(article().facts) + len(_secret())
    # agents' registrations are about no run: nobody who is restricted sees them
    own -= sum(not fact.run_id for fact in article().facts)

    assert httpx.get(url, params=count, headers=bearer("narrow")).text == f"{own}\n"
    assert httpx.get(url, params=count, headers=bearer("viewer")).text == f"{every}\n"
    assert httpx.get(url, params=count, headers=bearer("")).status_code == 403
    less = {**bearer("admin"), "X-Backplane-Workflows": '["content"]'}
    assert httpx.get(url, params=count, headers=less).text == f"{own}\n"


def test_clients_log_in_with_their_token_as_password(site: Site) -> None:
    """clickhouse-connect, as Grafana does; and figures are for those who see all."""
    client = clickhouse_connect.get_client(host="127.0.0.1", port=site.store, username="x", password=TOKENS["narrow"])
    assert client.command(f"SELECT count() FROM {NAME}.events WHERE run_id = '{SECRET_RUN}'") == 0
    client.close()
    for base in (site.base, f"http://127.0.0.1:{site.store}"):
        codes = {who: httpx.get(f"{base}/metrics", headers=bearer(who)).status_code for who in ("", *TOKENS)}
        assert {who for who, code in codes.items() if code == 200} == {"viewer", "operator", "admin"}
        assert httpx.get(f"{base}/health").status_code == 200


def test_a_session_ends_when_its_token_is_taken_back(site: Site, tmp_path: Path) -> None:
    """By the page of the login; a cookie of another name or without a signature is none."""
    folder = tmp_path / "platform"
    save(folder, [Entry("anna", "viewer", digest("anna's"))])
    with (
        console({**site.environment, "BACKPLANE_DATA_DIR": str(folder)}, tmp_path / "log") as base,
        httpx.Client(base_url=base) as client,
    ):
        client.get("/login")
        form = {"csrf": client.cookies[CSRF], "token": "anna's", "back": "/schemas"}
        assert client.post("/login", data=form).headers["location"] == "/schemas"
        assert client.get("/runs?x", headers={"accept": "*/*"}).status_code != 401
        cookie = client.cookies["backplane_session"]
        for forged in (f"{cookie}x", cookie.partition(".")[0], f"{cookie.partition('.')[0]}.", ""):
            sent = {"cookie": f"backplane_session={forged}"}
            assert httpx.get(f"{base}/runs", headers=sent).status_code == 401
        save(folder, [])
        assert client.get("/runs").status_code == 401


def test_a_person_logs_in_at_a_provider(site: Site, tmp_path: Path) -> None:
    """And is the viewer that its groups make it; a login that was not begun here leads nowhere."""
    with oidc_provider() as provider:
        environment = {
            **site.environment,
            "BACKPLANE_DATA_DIR": str(tmp_path),
            "BACKPLANE_ACCESS__OIDC__ISSUER": provider.issuer,
            "BACKPLANE_ACCESS__OIDC__CLIENT_ID": "backplane",
            "BACKPLANE_ACCESS__OIDC__ROLES": '{"readers": "viewer"}',
        }
        with console(environment, tmp_path / "log") as base, httpx.Client(base_url=base) as client:
            assert client.get("/schemas", headers={"accept": "*/*"}).status_code == 401
            there = client.get("/login/oidc?back=/schemas").headers["location"]
            back = httpx.get(there).headers["location"]
            assert httpx.get(back).status_code == 401
            assert client.get(back).headers["location"] == "/schemas"
            assert "oidc:anna" in client.get("/schemas").text
            assert client.get(back).status_code == 401
            program = {"Authorization": f"Bearer {provider.token(groups=['strangers'])}"}
            assert httpx.get(f"{base}/schemas", headers=program).status_code == 401
            program = {"Authorization": f"Bearer {provider.token()}"}
            assert httpx.get(f"{base}/schemas", headers=program).status_code == 200
