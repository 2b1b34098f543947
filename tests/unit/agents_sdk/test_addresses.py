"""Addresses are shown without the secrets in them, wherever settings and errors are."""

from __future__ import annotations

import pytest

from agents_sdk.addresses import shown
from agents_sdk.settings import explain, load_settings

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"http://user:{SECRET}@host:1/path", "http://***@host:1/path"),
        (f"s3://KEY:{SECRET}@host/bucket and http://{SECRET}@b", "s3://***@host/bucket and http://***@b"),
        (f"https://h/p?api_key={SECRET}&q=1", "https://h/p?api_key=***&q=1"),
        (f"https://h/p?q=1&X-Amz-Signature={SECRET}#f", "https://h/p?q=1&X-Amz-Signature=***#f"),
        (f"https://h/p?access_token={SECRET};key={SECRET}", "https://h/p?access_token=***;key=***"),
        ("http://host:1/a@b", "http://host:1/a@b"),
        ("mail a@b.example", "mail a@b.example"),
        ("http://host/?monkey=1&author=me", "http://host/?monkey=1&author=me"),
    ],
)
def test_what_is_secret_in_an_address_is_not_shown(text: str, told: str) -> None:
    """Nothing else of it changes."""
    assert shown(text) == told


def test_settings_show_no_secret_however_they_are_shown() -> None:
    """Tracebacks hold their repr, `backplane config explain` their values."""
    given = {
        "kafka": {"bootstrap.servers": "h:1", "sasl.password": SECRET, "sasl.jaas.config": f'x password="{SECRET}"'},
        "registry": {"url": f"http://u:{SECRET}@h:1/", "password": SECRET},
        "clickhouse": {"url": f"http://u:{SECRET}@h:1", "password": SECRET},
        "artifacts": {"url": f"s3://KEY:{SECRET}@h/bucket"},
    }
    settings = load_settings(**given)
    assert SECRET not in repr(settings)
    assert SECRET not in str(settings)
    assert SECRET not in f"{settings.registry} {settings.clickhouse!r} {settings.artifacts!r}"
    assert SECRET not in str(explain(**given))
    assert settings.registry.url == f"http://u:{SECRET}@h:1/"
