"""Who is let in, by the file of principals."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents_sdk.settings import load_settings
from backplane.access.gate import Gate
from backplane.access.principals import (
    ROLES,
    AccessFileUnusable,
    Directory,
    Entry,
    Principal,
    digest,
    load,
    login_of,
    parse,
    path_of,
    save,
    service_token,
    token_of,
)

ANNA = Entry("anna", "viewer", digest("a"), ("content",))


def test_a_token_names_its_principal_and_no_other() -> None:
    """By its hash; the service token is the platform's own."""
    directory = Directory((ANNA, Entry("omar", "operator", digest("o"))), digest("s"))

    assert directory.of_token("a") == Principal("anna", "viewer", ("content",))
    assert directory.of_token("o") == Principal("omar", "operator", None)
    assert directory.of_token("s") == Principal("backplane", "admin")
    assert directory.of_token("") is None
    assert directory.of_token(digest("a")) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("principals: [{name: a, role: root, token_sha256: X}]", "no role 'root'"),
        ("principals: [{name: a, role: admin, token_sha256: secret}]", "never the token"),
        ("principals: [{name: a, role: admin, token_sha256: X}, {name: a, role: viewer, token_sha256: X}]", "twice"),
        ("principals: [{name: a, role: admin, token_sha256: X, workflows: [w]}]", "only a viewer"),
        ("principals: [{name: a, role: viewer, token_sha256: X, workflows: ['a,b']}]", "no workflow"),
        ("principals: [{name: backplane, role: viewer, token_sha256: X}]", "not 'backplane'"),
        ("principals: [{name: a, role: viewer, token_sha256: X, rights: all}]", "unknown field"),
        ("principals: {", "not usable"),
        ("principals: 7", "not usable"),
    ],
)
def test_a_file_that_says_too_much_is_refused(text: str, said: str) -> None:
    """Nothing of it counts, and the message says what is wrong."""
    with pytest.raises(AccessFileUnusable, match=said):
        parse(text.replace("X", digest("x")))


def test_what_is_saved_is_read_again_and_only_by_its_owner(tmp_path: Path) -> None:
    """The service token stays the same; a file that others may read is refused."""
    assert load(tmp_path) is None

    save(tmp_path, [ANNA])
    token = service_token(tmp_path)
    save(tmp_path, [ANNA, Entry("omar", "admin", digest("o"))])

    assert service_token(tmp_path) == token != ""
    assert [path.stat().st_mode & 0o777 for path in path_of(tmp_path).parent.iterdir()] == [0o600, 0o600]
    assert {one.name for one in (load(tmp_path) or Directory()).entries} == {"anna", "omar"}
    path_of(tmp_path).chmod(0o644)
    with pytest.raises(AccessFileUnusable, match="read by others"):
        load(tmp_path)


def test_the_gate_follows_the_file_and_closes_where_it_is_broken(tmp_path: Path) -> None:
    """Without a file everybody is let in; a broken one lets nobody in."""
    gate = Gate(load_settings(data_dir=tmp_path, kafka={"bootstrap.servers": "127.0.0.1:1"}))
    bearer = {"authorization": "Bearer a"}
    assert gate.principal({}, {}) == Principal("", "admin")

    save(tmp_path, [ANNA])
    assert gate.principal({}, {}) is None
    assert gate.principal(bearer, {}) == Principal("anna", "viewer", ("content",))

    save(tmp_path, [])
    assert gate.principal(bearer, {}) is None
    path_of(tmp_path).write_text("principals: 7")
    assert gate.principal(bearer, {}) is None
    assert gate.principal({}, {}) is None


@given(st.sampled_from(ROLES), st.sampled_from(ROLES))
def test_roles_are_ordered(has: str, needs: str) -> None:
    """Each role may do what the ones below it may."""
    assert Principal("x", has).may(needs) == (ROLES.index(has) >= ROLES.index(needs))


@given(st.dictionaries(st.sampled_from(["authorization", "x-clickhouse-key"]), st.text()), st.text())
def test_no_header_raises(headers: dict[str, str], password: str) -> None:
    """Whatever a request shows, it is a token or none."""
    assert isinstance(token_of(headers, {"password": password}), str)


def test_tokens_are_shown_in_the_ways_that_clients_know() -> None:
    """Bearer, HTTP's own login, and ClickHouse's."""
    basic = base64.b64encode("anyone:tök:en".encode()).decode()

    assert token_of({"authorization": "Bearer tök:en"}, {}) == "tök:en"
    assert token_of({"authorization": f"Basic {basic}"}, {}) == "tök:en"
    assert token_of({"x-clickhouse-key": "tök:en"}, {}) == "tök:en"
    assert token_of({}, {"password": "tök:en"}) == "tök:en"
    assert token_of({"authorization": "Basic !"}, {}) == ""


@given(st.text(max_size=20), st.text(max_size=20))
def test_a_login_is_read_the_same_whoever_asks_for_it(user: str, password: str) -> None:
    """User and password of one header are those of one login; a malformed one is none of either."""
    user = user.replace(":", "")
    basic = base64.b64encode(f"{user}:{password}".encode("utf-8", "replace")).decode()
    headers = {"authorization": f"Basic {basic}"}
    assert login_of(headers, {})[1] == token_of(headers, {})
    assert login_of({"authorization": "Basic !"}, {"user": "u", "password": "p"}) == ("", "")
    assert login_of({}, {}) == ("default", "")
    assert login_of({"x-clickhouse-user": "u", "x-clickhouse-key": "k"}, {}) == ("u", "k")
