"""Where keys are found, who may read them, and that they are never shown."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from agents_sdk.core.commands import Command, StateBody
from agents_sdk.core.identity import Proof
from agents_sdk.core.ids import CommandId, RunId
from agents_sdk.keys import (
    LOOK_AGAIN_S,
    Key,
    Keys,
    KeyUnusable,
    file_name,
    issued,
    make_master,
    read,
    read_master,
    write,
)
from agents_sdk.settings_model import Layer, merge
from agents_sdk.signer import Signer
from agents_sdk.wire.signature import Verifier, derive
from tests.properties.test_codec import CODEC


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_master_key_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    """Every later start finds the same one."""
    folder = tmp_path / "data" / "keys"
    master = read_master(make_master(folder))
    assert (mode(folder), mode(folder / "master")) == (0o700, 0o600)
    assert read_master(make_master(folder)) == master
    assert master is not None


def test_new_master_key_removes_the_keys_of_the_old_one(tmp_path: Path) -> None:
    """They would only be taken for forgeries."""
    path = make_master(tmp_path)
    Keys(folder=tmp_path, master=path).get("research")
    path.unlink()
    make_master(tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["master"]


def test_key_is_issued_where_the_master_key_can_be_read(tmp_path: Path) -> None:
    """Its first generation, in a file of its own; the next process finds it there, without the master key."""
    master = make_master(tmp_path)
    key = Keys(folder=tmp_path, master=master).get("research")
    assert key is not None
    assert mode(tmp_path / "research.key") == 0o600
    secret = read_master(master)
    assert secret is not None
    assert (key.generation, key.secret) == (1, derive(secret, "research", 1))
    assert Keys(folder=tmp_path).get("research") == key
    assert Keys(folder=tmp_path).get("other") is None


def test_platform_own_keys_are_derived_and_never_written(tmp_path: Path) -> None:
    """They are of the generation 0, which cannot be issued."""
    key = Keys(folder=tmp_path, master=make_master(tmp_path)).get("bp.executor")
    assert key is not None
    assert key.generation == 0
    assert [each.name for each in tmp_path.iterdir()] == ["master"]
    assert Keys(folder=tmp_path).get("bp.executor") is None


def test_key_file_speaks_for_its_own_name_only(tmp_path: Path) -> None:
    """For any other name the folder is asked."""
    write(tmp_path / "mine", Key("research", 3, b"k" * 32))
    keys = Keys(key_file=tmp_path / "mine")
    assert keys.get("research") == Key("research", 3, b"k" * 32)
    assert keys.get("other") is None


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b", "ä", "..", "a b", "%2F"])
def test_name_of_any_kind_stays_in_the_folder(tmp_path: Path, name: str) -> None:
    """A client may be called anything."""
    folder = tmp_path / "keys"
    assert (folder / file_name(name)).resolve().parent == folder.resolve()
    key = Keys(folder=folder, master=make_master(folder)).get(name)
    assert read(folder / file_name(name)) == key


def test_key_is_never_shown(tmp_path: Path) -> None:
    """Neither in the text of a key nor in that of an error about its file."""
    key = Key("research", 1, b"s3cret-s3cret-s3cret-s3cret-s3cr")
    assert "s3cret" not in f"{key} {key!r}"
    (tmp_path / "bad.key").write_text('{"name": "research", "generation": 1, "secret": "s3cret-not-base64"}')
    with pytest.raises(KeyUnusable) as error:
        read(tmp_path / "bad.key")
    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize("content", ["", "zz" * 32, "00" * 31, "00" * 33])
def test_damaged_master_key_is_named_and_not_replaced(tmp_path: Path, content: str) -> None:
    """Making a new one would lock everybody out."""
    (tmp_path / "master").write_text(content)
    with pytest.raises(KeyUnusable, match="is damaged"):
        make_master(tmp_path)
    assert (tmp_path / "master").read_text() == content


def test_key_file_that_is_named_but_not_there_is_an_error(tmp_path: Path) -> None:
    """Going on unsigned would only be refused later, by somebody else."""
    with pytest.raises(KeyUnusable, match="cannot be read"):
        Keys(key_file=tmp_path / "gone").get("research")


def test_signer_stamps_the_present_and_signs_for_whoever_speaks(tmp_path: Path) -> None:
    """Again with the time of the second sending; a command of a name without a key goes out unsigned."""
    master = make_master(tmp_path)
    secret = read_master(master)
    assert secret is not None
    now = [1_767_261_600.0]
    signer = Signer(CODEC, Keys(folder=tmp_path, master=master), lambda: now[0])
    command = Command(
        command_id=CommandId("c"),
        kind="GetState",
        run_id=RunId("r"),
        agent="research",
        correlation_id="r",
        state=StateBody(key="k"),
    )
    for at in (1_767_261_600, 1_767_261_660):
        now[0] = float(at)
        data = signer.encode(command)
        sent = CODEC.decode(data)
        assert isinstance(sent, Command)
        assert (sent.issued_at, sent.key_generation, sent.state) == (at * 1_000_000, 1, command.state)
        assert Verifier(secret).proof(data, sent) is Proof.GOOD
    plain = CODEC.decode(Signer(CODEC, Keys(), lambda: now[0]).encode(command))
    assert isinstance(plain, Command)
    assert (plain.signature, plain.issued_at, plain.key_generation) == (b"", 1_767_261_660_000_000, 0)


def test_keys_of_one_platform_are_not_used_with_another() -> None:
    """Whoever names another Kafka gets no keys from a source below."""
    local = Layer("platform.json", {"kafka": {"bootstrap.servers": "local:1"}, "identity": {"keys_dir": "/local"}})
    elsewhere = Layer("env", {"kafka": {"bootstrap.servers": "far:1"}})
    own = Layer("env", {"kafka": {"bootstrap.servers": "far:1"}, "identity": {"key_file": "/mine"}})
    assert merge([local])[0]["identity"] == {"keys_dir": "/local"}
    assert "identity" not in merge([elsewhere, local])[0]
    assert merge([own, local])[0]["identity"] == {"key_file": "/mine"}


def test_key_that_is_written_anew_is_read_anew(tmp_path: Path) -> None:
    """After a moment, without a restart; one that cannot be read changes nothing."""
    clock = [0.0]
    path = tmp_path / "k"
    write(path, Key("research", 1, b"1" * 32))
    keys = Keys(key_file=path, now=lambda: clock[0])

    def generation() -> int:
        found = keys.get("research")
        assert found is not None
        return found.generation

    assert generation() == 1
    write(path, Key("research", 2, b"2" * 32))
    assert generation() == 1, "a look at the file for each command would cost more than the command"
    clock[0] += LOOK_AGAIN_S
    assert generation() == 2
    path.write_text("not a key")
    clock[0] += LOOK_AGAIN_S
    assert generation() == 2
    write(path, Key("research", 3, b"3" * 32))
    clock[0] += LOOK_AGAIN_S
    assert generation() == 3


@pytest.mark.parametrize("name", ["x" * 300, "é" * 60, "/" * 100])
def test_name_that_no_file_can_have_has_no_file(tmp_path: Path, name: str) -> None:
    """A name of any length is signed for by the master key, or not at all; no error of the file system gets through."""
    assert Keys(folder=tmp_path).get(name) is None
    master = make_master(tmp_path)
    key = Keys(folder=tmp_path, master=master).get(name)
    assert key is not None
    assert key.name == name


def test_ids_follow_from_the_name_and_not_from_the_generation() -> None:
    """A handler that is made again under a new key says the same; another name's ids are others."""
    master = b"m" * 32
    first, second = issued(master, "research", 1), issued(master, "research", 2)
    assert first.ids == second.ids != b""
    assert first.ids not in (first.secret, second.secret, issued(master, "review", 1).ids)
