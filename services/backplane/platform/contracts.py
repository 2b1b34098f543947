"""``python -m backplane.platform.contracts``: creates topics, registers schemas and manifests, then ends."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from confluent_kafka import TopicPartition

from agents_sdk.keys import write_unproven
from agents_sdk.settings import load_settings
from agents_sdk.wire.registry import connect_codec
from backplane.runtime.clients import reader

if TYPE_CHECKING:
    from agents_sdk.settings import Settings

PREFIX: Final = "bp."
TIMEOUT_S: Final = 10.0


def main() -> None:
    """Bring topics, schemas and the manifests of this release and of ``capabilities.paths`` to what the files say. An
    incompatible schema or an unusable manifest ends it with an error."""
    from backplane.manifests.publish import bring_up_to_date
    from backplane.topics import acls, admission
    from backplane.topics.apply import apply_schemas, apply_topics

    settings = load_settings()
    note_unproven(settings)
    for change in (*apply_topics(settings), *apply_schemas(settings)):
        print(change)
    if admission.ours(settings):
        print(f"permissions made in Kafka: {len(acls.apply(settings, acls.acls()))}")
    for line in bring_up_to_date(settings, connect_codec(settings), version("agent-backplane")):
        print(line)


def note_unproven(settings: Settings) -> None:
    """Notes once what lies in the topics before anything of this platform carries a proof. With a new data directory
    that is nothing, with one of an earlier release it is all there is."""
    path = settings.identity.unproven_file
    if path is None or path.exists():
        return
    consumer = reader(settings.kafka)
    try:
        ends: dict[str, list[int]] = {}
        for name, topic in consumer.list_topics(timeout=TIMEOUT_S).topics.items():
            if name.startswith(PREFIX):
                places = [TopicPartition(name, number) for number in sorted(topic.partitions)]
                ends[name] = [consumer.get_watermark_offsets(place, timeout=TIMEOUT_S)[1] for place in places]
    finally:
        consumer.close()
    write_unproven(path, ends)
    if any(map(any, ends.values())):
        print("records from before carry no proof and are believed: their ends are noted")


if __name__ == "__main__":
    main()
