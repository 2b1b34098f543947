"""The schema registry: ids of our schemas, and the schemas of foreign ids.

SHELL around confluent_kafka's client, which takes 0.4 s to import and is therefore imported only when a registry is
opened. Any registry with Confluent's API will do; where they differ (404 or 40401, 409 or 40901), both are understood.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple, Self, TypeVar

from agents_sdk import schemas, topics
from agents_sdk.addresses import shown
from agents_sdk.errors import BackplaneError, Unreachable
from agents_sdk.proxies import unread
from agents_sdk.wire.codec import RECORDS, Codec

if TYPE_CHECKING:
    from confluent_kafka.schema_registry import SchemaRegistryClient

    from agents_sdk.proxies import unread
from agents_sdk.settings import Settings

TIMEOUT_S: Final = 10
"""The client's own default is none at all: one answer that never comes would hang a process for good."""
RETRIES: Final = 2
RETRY_WAIT_MS: Final = 200
"""A refused connection is reported within a second; the client's defaults take up to seven."""
PARALLEL: Final = 4
LEVEL: Final = "FULL_TRANSITIVE"
"""Every reader, old or new, reads every record, old or new: replays start at offset 0."""

LOGIN_HINT: Final = (
    "check the credentials: a local platform's registry is read with identity.key_file (an older key has to be issued"
    " again with `backplane agents issue NAME`) and changed by the owner of the master key; for another registry, set"
    " registry.username"
)

AVRO: Final = "AVRO"
JSON: Final = "JSON"
"""Kinds of schema."""

_OAUTH: Final = ("authlib", "authlib.integrations", "authlib.integrations.httpx_client")
S = TypeVar("S")
T = TypeVar("T")


class SchemasNotApplied(BackplaneError):
    """The registry does not know a schema of this checkout; ``fields["subject"]`` names it."""

    code: ClassVar[str] = "schemas_not_applied"
    hint = "run `backplane schemas apply`"


class SchemaRejected(BackplaneError):
    """The registry refused a schema: incompatible with what is registered, or invalid."""

    code: ClassVar[str] = "schema_rejected"
    hint = "compare with `backplane schemas diff`"


class SubjectVersion(NamedTuple):
    """One version of a subject."""

    version: int
    schema_id: int
    schema: dict[str, Any]


def subject(topic: str) -> str:
    """The subject of a topic's values by TopicNameStrategy."""
    return f"{topic}-value"


@cache
def topic_of(record: str) -> str:
    """The topic whose subject knows the record; same content has one id in all subjects, so one is enough."""
    both = (*topics.TOPIC_OF_FACT.items(), *topics.TOPIC_OF_REGISTRY.items())
    named = {kept.__name__: topic for kept, topic in both}
    return {**named, "Command": topics.COMMANDS, "Reply": topics.REPLIES}[record]


def text(schema: dict[str, Any]) -> str:
    """The schema as it is sent: always the same bytes, since some registries give a reformatted schema a new id."""
    return json.dumps(schema, separators=(",", ":"), ensure_ascii=False)


def connect_codec(settings: Settings) -> Codec:
    """A codec that writes with the ids of this checkout's schemas and reads every version that the registry has of
    them.

    Raises:
        SchemasNotApplied: the registry does not have one of them.
        Unreachable: it does not answer.
    """
    from agents_sdk.wire.foreign_schemas import ForeignSchemas

    foreign = ForeignSchemas(settings)
    with Registry(settings) as registry:
        ids = registry.ids(RECORDS)
        foreign.read(registry)
    return Codec(ids, foreign, foreign.certain)


@cache
def registry_client() -> type[SchemaRegistryClient]:
    """The client's class, without authlib. That is imported for OAuth, which no setting of ours asks for. It took most
    of the time that a process needs to open a registry."""
    absent = [name for name in _OAUTH if name not in sys.modules]
    for name in absent:
        sys.modules[name] = _ModuleStub(name)
    try:
        from confluent_kafka.schema_registry import SchemaRegistryClient
    finally:
        for name in absent:
            sys.modules.pop(name, None)
    return SchemaRegistryClient


class _ModuleStub(ModuleType):
    """In place of a module of which names are imported and not used."""

    def __getattr__(self, name: str) -> Any:
        if name == "__path__":
            return []
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


class Registry:
    """One registry, to be closed. Safe to use from several threads; every method raises Unreachable when it does not
    answer.
    """

    def __init__(self, settings: Settings) -> None:
        self.url = settings.registry.url
        if not self.url:
            raise Unreachable(
                "no schema registry is configured",
                hint="run `backplane up`, or set BACKPLANE_REGISTRY__URL",
                server="registry",
            )
        client = registry_client()

        config: dict[str, Any] = {
            "url": self.url,
            "timeout": TIMEOUT_S,
            "max.retries": RETRIES,
            "retries.wait.ms": RETRY_WAIT_MS,
        }
        if settings.registry.username:
            secret = settings.registry.password.get_secret_value()
            config["basic.auth.user.info"] = f"{settings.registry.username}:{secret}"
        with unread(self.url):
            self._client: SchemaRegistryClient = client(config)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def ids(self, records: Iterable[str]) -> dict[str, int]:
        """Record name → id of its latest schema in this checkout. Raises SchemasNotApplied."""

        def look_up(record: str) -> int:
            name = subject(topic_of(record))
            found = self.lookup(name, schemas.avro(record, schemas.latest_version(record)))
            if found is None:
                raise SchemasNotApplied(
                    f"the registry at {shown(self.url)} does not have this version of {record!r} under {name!r}",
                    hint=SchemasNotApplied.hint,
                    subject=name,
                    record=record,
                )
            return found

        names = list(records)
        return dict(zip(names, self.each(look_up, names), strict=True))

    def each(self, ask: Callable[[S], T], items: Iterable[S]) -> list[T]:
        """``ask`` of every item, some at a time, answers in the order of the items; the first error is raised."""
        with ThreadPoolExecutor(PARALLEL) as pool:
            return list(pool.map(ask, items))

    def lookup(self, name: str, schema: dict[str, Any], kind: str = AVRO) -> int | None:
        """The id of this very schema under a subject, None when it is not registered there."""
        found = self._ask(lambda: self._client.lookup_schema(name, _sent(schema, kind)), missing=None)
        return None if found is None else _known(found.schema_id)

    def fetch(self, schema_id: int) -> dict[str, Any]:
        """The schema with this id. Raises LookupError when there is none. Ids are immutable: the client keeps it."""
        found = self._ask(lambda: self._client.get_schema(schema_id), missing=None)
        if found is None:
            raise LookupError(f"no schema has the id {schema_id} in the registry at {shown(self.url)}")
        loaded = json.loads(found.schema_str or "null")
        if not isinstance(loaded, dict):
            message = f"schema {schema_id} in the registry at {shown(self.url)} is no record"
            raise LookupError(message)  # not the caller's type error: the id leads nowhere
        return loaded

    def versions(self, name: str) -> list[SubjectVersion]:
        """All versions of a subject, the oldest first; empty when there is no such subject."""
        return [self.version(name, number) for number in self.numbers(name)]

    def numbers(self, name: str) -> list[int]:
        """The numbers of a subject's versions, the oldest first; empty when there is no such subject."""
        found: list[int] = self._ask(lambda: self._client.get_versions(name), missing=[])
        return sorted(found)

    def version(self, name: str, number: int) -> SubjectVersion:
        """One version of a subject. Raises SchemaRejected when there is none."""

        def one() -> SubjectVersion:
            found = self._client.get_version(name, number)
            return SubjectVersion(number, _known(found.schema_id), json.loads(found.schema.schema_str or "{}"))

        registered: SubjectVersion = self._ask(one)
        return registered

    def subjects(self) -> set[str]:
        """All subjects."""
        return set(self._ask(self._client.get_subjects))

    def accepts(self, name: str, schema: dict[str, Any], kind: str = AVRO) -> bool:
        """Whether the registry's own check finds the schema compatible with the whole subject."""
        sent = _sent(schema, kind)
        return bool(self._ask(lambda: self._client.test_compatibility_all_versions(name, sent), missing=True))

    def register(self, name: str, schema: dict[str, Any], kind: str = AVRO) -> int:
        """Registers the schema under the subject; its id. Raises SchemaRejected."""
        try:
            return int(self._ask(lambda: self._client.register_schema(name, _sent(schema, kind)), about=name))
        except SchemaRejected:
            # Of two writers at once some registries refuse the second, whose schema is there by now.
            found = self.lookup(name, schema, kind)
            if found is None:
                raise
            return found

    def level(self, name: str) -> str:
        """The subject's own compatibility level; empty where it has none."""
        return str(self._ask(lambda: self._client.get_compatibility(name), missing=""))

    def set_level(self, name: str, level: str = LEVEL) -> None:
        """Sets the compatibility level of an existing subject. Raises SchemaRejected."""
        try:
            self._ask(lambda: self._client.set_compatibility(name, level), about=name)
        except SchemaRejected:
            if self.level(name) != level:  # else somebody has set it at the same moment, which Apicurio refuses to us
                raise

    def _ask(self, request: Callable[[], Any], *, missing: Any = ..., about: str = "") -> Any:
        """The registry's answer, ``missing`` for any kind of 404 when given; driver errors end here."""
        from confluent_kafka.schema_registry.common._httpx_compat import httpx
        from confluent_kafka.schema_registry.error import SchemaRegistryError

        try:
            return request()
        except SchemaRegistryError as error:
            status, code = int(error.http_status_code), int(error.error_code or 0)
            if missing is not ... and (status == 404 or 40400 <= code < 40500):
                return missing
            said = f"{error.error_message} (HTTP {status}, code {code})"
            if status >= 500:
                raise Unreachable(
                    f"the schema registry at {shown(self.url)} fails: {said}", hint="see its log", server="registry"
                ) from error
            hint = SchemaRejected.hint if status in (409, 422) else "check the registry's address and credentials"
            if status in (401, 403):
                hint = LOGIN_HINT
            what = f"the registry at {shown(self.url)} refuses {about or 'the request'}: {said}"
            raise SchemaRejected(what, hint=hint, subject=about, status=status, error_code=code) from error
        except httpx.TransportError as error:
            raise Unreachable(
                f"the schema registry at {shown(self.url)} does not answer: {type(error).__name__}: {error}",
                hint="check `backplane status`",
                server="registry",
            ) from error


def _sent(schema: dict[str, Any], kind: str) -> Any:
    from confluent_kafka.schema_registry import Schema

    return Schema(text(schema), kind)


def _known(schema_id: int | None) -> int:
    if schema_id is None:
        raise LookupError("the registry answered without an id")
    return schema_id
