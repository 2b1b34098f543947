"""Where secrets come from, and that they do not show."""

from __future__ import annotations

import html
import json
import re
import threading
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import keyring
import keyring.backend
import keyring.errors
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from backplane.manifests.model import SecretReference, keystore
from backplane.manifests.model.keystore import Keystore
from backplane.providers.redaction import MARK, Redaction


class Rings(keyring.backend.KeyringBackend):
    """A keyring in memory."""

    priority = 1.0  # a property of the class in keyring

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # keyring's
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        if username == "locked":
            raise keyring.errors.KeyringLocked("locked")
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password


@pytest.fixture
def rings(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rings]:
    """The process's keyring is one in memory; nothing is remembered of another."""
    before = keyring.get_keyring()
    ours = Rings()
    keyring.set_keyring(ours)
    monkeypatch.setattr("backplane.manifests.model.reference.password", Keystore(keystore._ask_keyring).password)
    yield ours
    keyring.set_keyring(before)


def private(path: Path, text: str, mode: int = 0o600) -> None:
    path.write_text(text)
    path.chmod(mode)


def test_a_secret_is_looked_up_in_the_environment_the_keyring_and_a_file(tmp_path: Path, rings: Rings) -> None:
    """In this order; an empty variable counts as absent."""
    reference = SecretReference(env="KEY", keyring="search", file="key")
    private(tmp_path / "key", "from file\n")
    assert reference.resolve({}, tmp_path / "elsewhere") == ""
    assert reference.resolve({"KEY": ""}, tmp_path) == "from file"


def test_the_keyring_goes_before_the_file(tmp_path: Path, rings: Rings) -> None:
    """And the environment before both."""
    reference = SecretReference(env="KEY", keyring="search", file="key")
    private(tmp_path / "key", "from file")
    keyring.set_password("backplane", "search", "from keyring")

    assert reference.resolve({}, tmp_path) == "from keyring"
    assert reference.resolve({"KEY": "from env"}, tmp_path) == "from env"


def test_a_locked_keyring_is_no_secret(tmp_path: Path, rings: Rings) -> None:
    """And no error: the next place is looked at."""
    private(tmp_path / "key", "from file")

    assert SecretReference(keyring="locked", file="key").resolve({}, tmp_path) == "from file"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o666])
def test_a_file_that_others_may_read_is_refused_with_the_next_step(tmp_path: Path, mode: int) -> None:
    """A secret that everybody on the machine knows is none."""
    private(tmp_path / "key", "s3cret", mode)
    reference = SecretReference(env="KEY", file="key")

    assert reference.resolve({}, tmp_path) == ""
    lack = reference.lack({}, tmp_path)
    assert f"chmod 600 {tmp_path / 'key'}" in lack
    assert f"{mode:04o}" in lack
    assert "s3cret" not in lack

    (tmp_path / "key").chmod(0o600)
    assert (reference.resolve({}, tmp_path), reference.lack({}, tmp_path)) == ("s3cret", "")


def test_what_is_missing_names_every_place(tmp_path: Path, rings: Rings) -> None:
    """So that an operator knows where to put it."""
    reference = SecretReference(env="KEY", keyring="search", file="key")

    assert reference.lack({}, tmp_path) == "$KEY or keyring search or file key"


def test_a_keyring_that_hangs_holds_nobody_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first look-up waits its patience, later ones not at all; the answer is there when it has come."""
    monkeypatch.setattr(keystore, "PATIENCE_S", 0.05)
    unlocked = threading.Event()
    looked: list[str] = []

    def look(name: str) -> str:
        looked.append(name)
        unlocked.wait(10)
        return "s3cret"

    store = Keystore(look)
    assert store.password("a") == ""
    assert store.password("a") == ""
    unlocked.set()
    assert store._entries["a"].done.wait(10)

    assert store.password("a") == "s3cret"
    assert looked == ["a"]
    assert "s3cret" not in repr(store) + repr(vars(store))


def test_a_secret_that_changed_is_seen_within_a_minute() -> None:
    """The old one is used while a thread looks again."""
    now = [0.0]
    secrets = ["old", "new"]
    store = Keystore(lambda name: secrets.pop(0), lambda: now[0])

    assert store.password("a") == "old"
    now[0] = 59.0
    assert store.password("a") == "old"
    assert secrets == ["new"]
    now[0] = 61.0
    store.password("a")
    assert store._entries["a"].done.wait(10)
    assert store.password("a") == "new"


@pytest.mark.parametrize(
    "secret", ["sk-plain-123", 'quote"and\\slash', "schlüssel-öffentlich", "user:pass word/+=&", "a%20b+c d"]
)
def test_a_secret_is_taken_out_in_every_form(secret: str) -> None:
    """As it is, within JSON, within an address, as basic auth; and JSON stays JSON."""
    from base64 import b64encode
    from urllib.parse import quote, quote_plus

    redaction = Redaction()
    assert redaction.learn(secret) == secret
    forms = [secret, quote(secret, safe=""), quote_plus(secret), b64encode(secret.encode()).decode()]

    for form in forms:
        assert redaction.text(f"key {form}!") == f"key {MARK}!"
        for ascii_only in (True, False):
            echoed = json.dumps({"you sent": f"<{form}>"}, ensure_ascii=ascii_only).encode()
            assert json.loads(redaction.raw(echoed)) == {"you sent": f"<{MARK}>"}
    assert secret not in repr(redaction)


def test_short_texts_are_left_alone() -> None:
    """Taking out every "a" would maim what is no secret."""
    redaction = Redaction()
    redaction.learn("")
    redaction.learn("a")

    assert redaction.text("a banana") == "a banana"


SPELLED: dict[str, Callable[[str], str]] = {
    "as it is": lambda secret: secret,
    "JSON": lambda secret: json.dumps(secret)[1:-1],
    "JSON with escaped slashes": lambda secret: json.dumps(secret)[1:-1].replace("/", "\\/"),
    "percent": lambda secret: quote(secret, safe=""),
    "percent in small letters": lambda secret: re.sub("%..", lambda found: found[0].lower(), quote(secret, safe="")),
    "a form": quote_plus,
    "HTML": html.escape,
    "base64": lambda secret: b64encode(secret.encode()).decode(),
    "base64 without padding": lambda secret: b64encode(secret.encode()).decode().rstrip("="),
    "base64 for addresses": lambda secret: urlsafe_b64encode(secret.encode()).decode(),
    "hexadecimal": lambda secret: secret.encode().hex(),
    "hexadecimal in capitals": lambda secret: secret.encode().hex().upper(),
}


@pytest.mark.parametrize("spelled", SPELLED)
@given(st.text(st.characters(codec="utf-8"), min_size=8, max_size=60), st.text(max_size=20), st.text(max_size=20))
def test_a_secret_is_found_however_it_is_spelled(spelled: str, secret: str, before: str, after: str) -> None:
    """In texts, in bytes, in trees."""
    redaction = Redaction()
    redaction.learn(secret)
    written = SPELLED[spelled](secret)
    assume(written not in before + after + MARK)
    text = f"{before} {written} {after}"

    assert written not in redaction.text(text)
    assert written not in str(redaction.tree({"a": [text], text: 1}).values())
    assert written.encode() not in redaction.raw(text.encode("utf-8", errors="replace"))


@given(st.text(st.characters(codec="ascii"), min_size=16, max_size=60), st.binary(max_size=9), st.binary(max_size=9))
def test_a_secret_is_found_within_base64_of_more(secret: str, before: bytes, after: bytes) -> None:
    """A header that was encoded whole: whatever stands before and after it."""
    redaction = Redaction()
    redaction.learn(secret)
    whole = b64encode(before + secret.encode() + after).decode()

    cleaned = redaction.text(whole)
    assert MARK in cleaned
    assert len(cleaned) <= len(whole) - len(secret) + len(MARK)


def test_escapes_of_json_hide_no_secret() -> None:
    """Each letter may be written as an escape; what is parsed is clean."""
    redaction = Redaction()
    redaction.learn("sk-0123456789")
    spelled = "".join(f"\\u{ord(letter):04x}" for letter in "sk-0123456789")

    assert redaction.tree(json.loads(f'{{"a": "{spelled}", "{spelled}": [["{spelled}"]]}}')) == {
        "a": MARK,
        MARK: [[MARK]],
    }
