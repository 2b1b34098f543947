"""Brings the ClickHouse schema up to date: the numbered files of ``schemas/clickhouse``, each applied once, in order.

Files are data. ``{database}``, ``{cluster}`` (an ``ON CLUSTER`` clause or nothing) and ``{replicated}`` (the prefix of
an engine's name or nothing) are filled in. So one dialect serves the embedded engine, a server and a cluster. A file
that was applied is never edited, only followed by the next number.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from agents_sdk import schemas
from agents_sdk.errors import BackplaneError

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
HISTORY: Final = """
CREATE TABLE IF NOT EXISTS {database}.migrations {cluster}
(number UInt32, name String, sha256 String, applied_at DateTime64(3, 'UTC') DEFAULT now64(3))
ENGINE = {replicated}MergeTree ORDER BY number
COMMENT 'Which files of schemas/clickhouse were applied'
"""


class MigrationEdited(BackplaneError):
    """A migration that was applied differs from its file; ``fields["name"]`` names it."""

    code: ClassVar[str] = "migration_edited"
    hint = (
        "restore the file and put the change into a new one with the next number, or, where Kafka still has all facts, "
        "run `backplane analytics rebuild`"
    )


@dataclass(frozen=True)
class Migration:
    """One file: its number, name, text as written, and what its text was."""

    number: int
    name: str
    text: str

    @property
    def sha256(self) -> str:
        """Of the text as written, before anything is filled in."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def statements(self, database: str, cluster: str = "") -> Iterator[str]:
        """The file's statements for this database, in order."""
        for statement in _filled(self.text, database, cluster).split(";\n"):
            code = "\n".join(line for line in statement.splitlines() if not line.lstrip().startswith("--")).strip()
            if code:
                yield code


def migrations() -> list[Migration]:
    """All migrations of this checkout by number. Raises ValueError when a number is missing or used twice."""
    found = [_load(path) for path in sorted((schemas.root() / "clickhouse").glob("*.sql"))]
    numbers = [migration.number for migration in found]
    if numbers != list(range(1, len(found) + 1)):
        raise ValueError(f"migrations are numbered {numbers}, not 1 to {len(found)}")
    return found


def migrate(client: Client, database: str, cluster: str = "") -> list[str]:
    """Applies what is not applied yet; names of what was. A crash in between leaves a migration that is applied again:
    its first statements must bear that, which CREATE … IF NOT EXISTS of the last one's leftovers sees to.

    Raises:
        MigrationEdited: an applied file was changed since.
    """
    client.command(_filled("CREATE DATABASE IF NOT EXISTS {database} {cluster} ENGINE = Atomic", database, cluster))
    client.command(_filled(HISTORY, database, cluster))
    before = applied(client, database)
    done = []
    for migration in migrations():
        if migration.number in before:
            _check(migration, before[migration.number])
            continue
        for statement in migration.statements(database, cluster):
            client.command(_repeatable(statement))
        row = [migration.number, migration.name, migration.sha256]
        client.insert(f"{database}.migrations", [row], column_names=["number", "name", "sha256"])
        done.append(migration.name)
    return done


def applied(client: Client, database: str) -> dict[int, str]:
    """Number → SHA-256 of the migrations that this database has had."""
    rows = client.query(_filled("SELECT number, sha256 FROM {database}.migrations", database, "")).result_rows
    return {int(number): str(digest) for number, digest in rows}


def _check(migration: Migration, digest: str) -> None:
    if digest != migration.sha256:
        raise MigrationEdited(
            f"migration {migration.name!r} was applied as SHA-256 {digest[:12]}…, its file is {migration.sha256[:12]}…",
            hint=MigrationEdited.hint,
            name=migration.name,
        )


def _repeatable(statement: str) -> str:
    """The statement, harmless when a crash cut the migration short after it."""
    return re.sub(r"^CREATE (TABLE|VIEW|DATABASE) (?!IF NOT EXISTS)", r"CREATE \1 IF NOT EXISTS ", statement)


def _load(path: Path) -> Migration:
    number, _, _ = path.stem.partition("_")
    return Migration(int(number), path.stem, path.read_text())


def _filled(text: str, database: str, cluster: str) -> str:
    for name in (database, *([cluster] if cluster else [])):
        if not IDENTIFIER.fullmatch(name):
            raise ValueError(f"{name!r} is no name for a database or cluster; use letters, digits and _")
    clause = f"ON CLUSTER {cluster}" if cluster else ""
    values = {"{database}": database, "{cluster}": clause, "{replicated}": "Replicated" if cluster else ""}
    for placeholder, value in values.items():
        text = text.replace(placeholder, value)
    return text
