"""Where this process finds the keys it signs with.

``identity.key_file`` or ``identity.keys_dir`` hold what ``backplane agents issue`` wrote. The master key can be read by
its owner on a local platform. There a missing key is issued on the spot. No key is ever printed, logged or put in a
settings value: settings name files, and only files hold keys, mode 0600.
"""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple
from urllib.parse import quote

import msgspec

from agents_sdk import registry_login
from agents_sdk.core.identity import first_generation, reserved
from agents_sdk.errors import BackplaneError
from agents_sdk.wire.proof import ANSWER, DELIVERY, subkey
from agents_sdk.wire.signature import LENGTH, Verifier, derive

if TYPE_CHECKING:
    from agents_sdk.settings import Settings

log = logging.getLogger("backplane.sdk")

MASTER: Final = "master"
"""Name of the master key's file in the folder of keys."""
SUFFIX: Final = ".key"
UNPROVEN: Final = "unproven.json"
"""Name of the file, beside the master key, with the offsets below which records carry no proof."""
LOOK_AGAIN_S: Final = 2.0
"""Between two looks at a key's file: seldom enough to cost nothing, often enough for an operator who waits."""

IDS: Final = "ids"
"""Purpose of the key that ids derive from."""
KEPT_GENERATIONS: Final = 8
"""Generations before the present one whose deliveries may still lie in an inbox."""


class KeyUnusable(BackplaneError):
    """A key file cannot be read or written; ``fields["path"]`` says which."""

    code: ClassVar[str] = "auth"
    hint = "write it again with `backplane agents issue NAME`, or remove it"


class Key(msgspec.Struct, frozen=True):
    """A name's key. Its text never shows the secret."""

    name: str
    generation: int
    secret: bytes
    ids: bytes = b""
    """The root of the ids of this name's handlers, so that nobody else knows them before. It is the same for all its
    generations, since a handler that runs again under a new key says the same. Empty in a file written before."""
    earlier: dict[int, bytes] = {}
    """Generation before → the key that proves deliveries made while it counted; see ``deliveries``."""
    registry: bytes = b""
    """Opens the schema registry of a local platform for reading. Empty in a file written before."""

    def deliveries(self, generation: int) -> bytes | None:
        """The key that proves what the ledger put in this name's inbox while ``generation`` counted; None: not known
        here."""
        return subkey(self.secret, DELIVERY) if generation == self.generation else self.earlier.get(generation)

    @property
    def answers(self) -> bytes:
        """The key that proves the ledger's answers to commands signed with this key."""
        return _answers(self.secret)

    def __repr__(self) -> str:
        return f"Key(name={self.name!r}, generation={self.generation})"

    __str__ = __repr__


@lru_cache(maxsize=256)
def _answers(secret: bytes) -> bytes:
    """Made once: each command that is sent notes it."""
    return subkey(secret, ANSWER)


FILE_NAME_LIMIT: Final = 255
"""Bytes, of most file systems. A longer name has no file: nobody of that name can be registered."""


class Keys:
    """The keys of this process, by the name they speak for. A file that changes is read again: a key that is rotated,
    or issued again, is in use within ``LOOK_AGAIN_S``."""

    def __init__(
        self,
        key_file: Path | None = None,
        folder: Path | None = None,
        master: Path | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._key_file = key_file
        self._folder = folder
        self._master = master
        self._now = now
        self._known: dict[str, _Found] = {}

    @classmethod
    def of(cls, settings: Settings) -> Keys:
        """As the settings say."""
        identity = settings.identity
        return cls(identity.key_file, identity.keys_dir, identity.master_file)

    def get(self, name: str) -> Key | None:
        """The key to sign with as ``name``; None: there is none, its commands go unsigned. Raises KeyUnusable."""
        found = self._known.get(name)
        if found is None or self._now() >= found.look_again_at:
            found = self._known[name] = self._look(name, found)
        return found.key

    def _look(self, name: str, before: _Found | None) -> _Found:
        stamp = tuple(_stamp(path) for path in (self._key_file, self._file(name)) if path is not None)
        again_at = self._now() + LOOK_AGAIN_S
        if before is not None and stamp == before.stamp:
            return before._replace(look_again_at=again_at)
        try:
            return _Found(self._find(name), stamp, again_at)
        except KeyUnusable as error:
            if before is None:
                raise
            log.warning("the key of %s stays the one that was read before: %s", name, error)
            return before._replace(look_again_at=again_at)

    def _file(self, name: str) -> Path | None:
        if self._folder is None or len(file_name(name)) > FILE_NAME_LIMIT:
            return None
        return self._folder / file_name(name)

    def _find(self, name: str) -> Key | None:
        if self._key_file is not None:
            key = read(self._key_file)
            if key.name == name:
                return key
        path = self._file(name)
        if path is not None and path.exists():
            return read(path)
        master = read_master(self._master) if self._master is not None else None
        if master is None:
            return None
        generation = first_generation(name)
        key = issued(master, name, generation)
        if path is not None and not reserved(name):
            write(path, key)
        return key


class _Found(NamedTuple):
    key: Key | None
    stamp: tuple[object, ...]
    """Of the files it may be in."""
    look_again_at: float


def _stamp(path: Path) -> object:
    """The part that changes when a file is written again."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def issued(master: bytes, name: str, generation: int) -> Key:
    """The key of a name's generation, with what proves the deliveries that still lie in its inbox from before."""
    before = range(max(1, generation - KEPT_GENERATIONS), generation)
    earlier = {number: subkey(derive(master, name, number), DELIVERY) for number in before}
    own = derive(master, name, generation), subkey(derive(master, name, 0), IDS)
    return Key(name, generation, *own, earlier, registry_login.secret(master, registry_login.READER))


def verifier(settings: Settings) -> Verifier | None:
    """The checker of signatures; None where the master key is not this process's to read. Raises KeyUnusable."""
    path = settings.identity.master_file
    master = read_master(path) if path is not None else None
    return Verifier(master) if master is not None else None


def file_name(name: str) -> str:
    """The file of a name's key; a name may hold anything, a slash too."""
    return quote(name, safe="") + SUFFIX


def read(path: Path) -> Key:
    """The key in a file. Raises KeyUnusable."""
    try:
        key = msgspec.json.decode(path.read_bytes(), type=Key)
    except (OSError, msgspec.MsgspecError) as error:
        raise KeyUnusable(f"key file {str(path)!r} cannot be read: {error}", path=str(path)) from error
    if len(key.secret) != LENGTH:
        raise KeyUnusable(f"key file {str(path)!r} holds {len(key.secret)} bytes, not {LENGTH}", path=str(path))
    return key


def write(path: Path, key: Key) -> None:
    """Puts a key in a file that only its owner reads. Raises KeyUnusable."""
    _write(path, msgspec.json.encode(key) + b"\n")


def read_master(path: Path) -> bytes | None:
    """The master key; None where there is none, or it is not ours to read. Raises KeyUnusable."""
    try:
        text = path.read_text()
    except (FileNotFoundError, PermissionError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise KeyUnusable(f"master key {str(path)!r} cannot be read: {error}", path=str(path)) from error
    try:
        master = bytes.fromhex(text)
    except ValueError:
        master = b""
    if len(master) != LENGTH:
        hint = "it is 64 hex digits; restore it, or all keys have to be issued again"
        raise KeyUnusable(f"master key {str(path)!r} is damaged", hint=hint, path=str(path))
    return master


def make_master(folder: Path) -> Path:
    """The master key's file in ``folder``, made unless it is there; with a new one, the keys derived from another are
    removed. Raises KeyUnusable."""
    path = folder / MASTER
    if read_master(path) is None:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)
            for stale in (*folder.glob(f"*{SUFFIX}"), *folder.glob(UNPROVEN)):
                stale.unlink()
        except OSError as error:
            raise KeyUnusable(f"folder of keys {str(folder)!r} cannot be made: {error}", path=str(folder)) from error
        _write(path, secrets.token_hex(LENGTH).encode() + b"\n")
    return path


def write_unproven(path: Path, ends: Mapping[str, Sequence[int]]) -> None:
    """Notes the offsets below which records carry no proof, by topic and partition. Raises KeyUnusable."""
    _write(path, msgspec.json.encode(ends) + b"\n")


def _write(path: Path, content: bytes) -> None:
    """Replaces the file in one step: a reader sees the old one or the new one."""
    draft: Any = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise KeyUnusable(f"key file {str(path)!r} cannot be written: {error}", path=str(path)) from error
