"""Makes the broker and the registry agree with ``schemas/``: plans all changes first, then makes them.

Both ``apply`` functions may run at any time, twice, or in two processes at once: what is there already is left alone.
Nothing is made when anything is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from agents_sdk import schemas, topics
from agents_sdk.errors import BackplaneError
from agents_sdk.wire import topic_files, topics_admin
from agents_sdk.wire.registry import LEVEL, Registry, SubjectVersion, subject
from agents_sdk.wire.topic_files import Topic
from agents_sdk.wire.topics_admin import ExistingTopic, NewTopicSpec
from backplane.topics.compatibility import Difference, Schema, broken_by

if TYPE_CHECKING:
    from agents_sdk.settings import Settings

Action = Literal["create topic", "alter topic", "register schema", "set level"]


@dataclass(frozen=True)
class Change:
    """One thing that is changed, or would be."""

    action: Action
    name: str
    """Topic or subject."""
    detail: str


class TopicsDiffer(BackplaneError):
    """A topic has another number of partitions than it should; nothing was changed. ``fields["topics"]``: name →
    (partitions it has, partitions it should have).
    """

    code: ClassVar[str] = "topics_differ"


class SchemasIncompatible(BackplaneError):
    """A schema would break readers of what is registered; nothing was changed. ``fields["subjects"]``: subject →
    the refused changes.
    """

    code: ClassVar[str] = "schemas_incompatible"
    hint = "keep the old fields, give new ones a null, zero or empty default, or use a new record and topic"


def apply_topics(settings: Settings, dry_run: bool = False) -> list[Change]:
    """Creates the topics that are missing and sets properties that differ; the changes, empty when all was right.

    Raises:
        TopicsDiffer: a topic has the wrong number of partitions.
        ContractBroken: a topic file is wrong.
        Unreachable, TopicRefused: as their names say.
    """
    # 1. What should be, and what is.
    admin = topics_admin.connect(settings)
    there = topics_admin.existing(admin, settings)
    files = topic_files.load_all()
    _refuse_other_partitions(settings, files, there)
    # 2. The difference.
    wanted = [_wanted(settings, file) for file in files if not file.template and file.topic not in there]
    ours = {name: file for name in there for file in files if file.matches(name)}
    found = topics_admin.configs(admin, settings, ours)
    altered = {}
    for name, file in sorted(ours.items()):
        target = file.broker_config(settings, there[name].replication)
        differing = {key: value for key, value in target.items() if found[name].get(key) != value}
        if differing:
            altered[name] = differing
    created = [Change("create topic", new.name, _line(new)) for new in wanted]
    changed = [Change("alter topic", name, _altered(found[name], to)) for name, to in altered.items()]
    # 3. Act.
    if not dry_run:
        topics_admin.create(admin, settings, wanted)
        topics_admin.alter(admin, settings, altered)
    return created + changed


def apply_schemas(settings: Settings, dry_run: bool = False) -> list[Change]:
    """Registers the schemas that are missing and sets every subject to FULL_TRANSITIVE; the changes, empty when all was
    right. They are all versions in their order, and of an inbox the newest.

    Raises:
        SchemasIncompatible: a schema would break readers; the text has the differences, field by field.
        SchemaRejected: the registry refuses one for a reason of its own.
        Unreachable: it does not answer.
    """
    with Registry(settings) as registry:
        # 1. What should be, what is, and whether the difference may be.
        records = _subjects(registry)
        plans = registry.each(lambda name: _plan(registry, name, records[name]), sorted(records))
        refused = {plan.subject: plan.refused for plan in plans if plan.refused}
        if refused:
            text = "\n".join(line for name, why in refused.items() for line in (f"{name}:", *why))
            raise SchemasIncompatible(
                f"nothing was registered:\n{text}", hint=SchemasIncompatible.hint, subjects=refused
            )
        # 2. Act.
        acting = [plan for plan in plans if plan.missing or plan.level != LEVEL]
        if dry_run:
            done = [_changes(plan, {}) for plan in acting]
        else:
            done = registry.each(lambda plan: _carry_out(registry, plan), acting)
    return [change for changes in done for change in changes]


def _subjects(registry: Registry) -> dict[str, str]:
    """Subject → record: those of our topics, and those of the inboxes there are."""
    files = topic_files.load_all()
    records = {subject(file.topic): file.record for file in files if file.has_subject and not file.template}
    return records | dict.fromkeys(filter(_is_inbox, registry.subjects()), _inbox().record)


def _inbox() -> Topic:
    return topic_files.find(topics.inbox(topic_files.AGENT))


def _is_inbox(subject_name: str) -> bool:
    return _inbox().matches(subject_name.removesuffix("-value"))


@dataclass(frozen=True)
class _Plan:
    """The needs of one subject."""

    subject: str
    record: str
    level: str
    """Its compatibility level now; empty: none of its own."""
    missing: tuple[int, ...]
    """Versions of the record, as in the names of the files, that are not registered."""
    refused: tuple[str, ...]
    """Lines that say why a missing one must not be registered."""


def _plan(registry: Registry, name: str, record: str) -> _Plan:
    versions = range(1, schemas.latest_version(record) + 1)
    local = {version: schemas.avro(record, version) for version in versions}
    # An agent makes its inbox with the newest version alone: an older one is not needed, and may not fit after it.
    needed = versions[-1:] if _is_inbox(name) else versions
    missing = tuple(version for version in needed if registry.lookup(name, local[version]) is None)
    refused: list[str] = []
    if missing:
        registered = registry.versions(name)
        refused = [line for version in missing for line in refusals(record, version, local, registered)]
        if not refused and registered:
            refused = [
                f"  the registry finds {record} version {version} incompatible with what it has"
                for version in missing
                if not registry.accepts(name, local[version])
            ]
    return _Plan(name, record, registry.level(name), missing, tuple(refused))


def refusals(record: str, version: int, local: Mapping[int, Schema], registered: Sequence[SubjectVersion]) -> list[str]:
    """Why this version of a record must not be registered: all its breaks with the registered versions and the local
    ones before it. Empty: it may.
    """
    older: list[tuple[str, Schema]] = [
        (f"registered version {known.version} (id {known.schema_id})", known.schema) for known in registered
    ]
    older += [(f"{record}.v{number}.avsc", schema) for number, schema in local.items() if number < version]
    broken = broken_by(local[version], [schema for _, schema in older])
    # The latest one that is broken says most; the others would repeat it.
    return _report(f"{record}.v{version}.avsc", older[broken[-1][0]][0], broken[-1][1]) if broken else []


def _report(new: str, old: str, changes: Iterable[Difference]) -> list[str]:
    return [f"  {new} is incompatible with {old}:", *(f"    {change}" for change in changes)]


def _carry_out(registry: Registry, plan: _Plan) -> list[Change]:
    ids = {version: registry.register(plan.subject, schemas.avro(plan.record, version)) for version in plan.missing}
    # After the first version: some registries have no level for a subject that does not exist yet.
    if plan.level != LEVEL:
        registry.set_level(plan.subject, LEVEL)
    return _changes(plan, ids)


def _changes(plan: _Plan, ids: dict[int, int]) -> list[Change]:
    registering = [
        Change(
            "register schema",
            plan.subject,
            f"{plan.record} version {version}" + (f", id {ids[version]}" if version in ids else ""),
        )
        for version in plan.missing
    ]
    setting = [Change("set level", plan.subject, f"{plan.level or 'none'} → {LEVEL}")] if plan.level != LEVEL else []
    return registering + setting


def partitions_of(settings: Settings, file: Topic) -> int:
    """How many partitions a topic is to have."""
    return settings.topics.partitions if file.partitions == "default" else file.partitions


def _wanted(settings: Settings, file: Topic) -> NewTopicSpec:
    replication = settings.topics.replication
    return NewTopicSpec(
        file.topic, partitions_of(settings, file), replication, file.broker_config(settings, replication)
    )


def _refuse_other_partitions(settings: Settings, files: Sequence[Topic], there: dict[str, ExistingTopic]) -> None:
    wrong = {
        name: (found.partitions, partitions_of(settings, file))
        for name, found in sorted(there.items())
        for file in files
        if file.matches(name) and found.partitions != partitions_of(settings, file)
    }
    if not wrong:
        return
    listed = ", ".join(f"{name} has {has}, not {should}" for name, (has, should) in wrong.items())
    raise TopicsDiffer(
        f"the number of partitions cannot change, since a run's records would go on in another one: {listed}",
        hint=f"set topics.partitions to {next(iter(wrong.values()))[0]}, or begin with an empty Kafka",
        topics=wrong,
    )


def _line(new: NewTopicSpec) -> str:
    properties = ", ".join(f"{key}={value}" for key, value in sorted(new.config.items()))
    return f"{new.partitions} partitions, {new.replication} replicas, {properties}"


def _altered(now: Mapping[str, str], to: Mapping[str, str]) -> str:
    return ", ".join(f"{key} {now.get(key)} → {value}" for key, value in to.items())
