"""``backplane events tail``: the facts as they lie in Kafka, with kcat's habits."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from agents_sdk.settings import load_settings
from backplane.cli.output import CommandError, DataDir, interactive, message
from backplane.cli.run_name import named_run
from backplane.cli.shown import escaped, escaped_json
from backplane.cli.tail import END, DecodedRecord, Filter, StartOffset, formatted, parse_offset, parse_time

if TYPE_CHECKING:
    from confluent_kafka import Consumer, Message, TopicPartition

    from agents_sdk.settings import Settings
    from agents_sdk.wire.codec import Codec

app = typer.Typer(add_completion=False, no_args_is_help=True, help="The facts as they lie in Kafka.")

LINE: Final = "%T %t[%p]@%o %s\\n"
POLL_S: Final = 0.5


@app.callback()
def group() -> None:
    """The facts as they lie in Kafka."""


@app.command()
def tail(
    topic: Annotated[
        list[str] | None, typer.Option("--topic", "-t", help="Some topics; all fact topics without.")
    ] = None,
    partition: Annotated[int, typer.Option("--partition", "-p", help="One partition only.")] = -1,
    offset: Annotated[str, typer.Option("--offset", "-o", help="beginning, end, 17, -100 or s@MILLISECONDS.")] = "end",
    since: Annotated[str, typer.Option("--since", help="From this time on: 10m, ISO 8601 or milliseconds.")] = "",
    until: Annotated[str, typer.Option("--until", help="Up to this time; implies -e.")] = "",
    end: Annotated[
        bool, typer.Option("--exit", "-e", help="End at the last record instead of waiting for more.")
    ] = False,
    count: Annotated[int, typer.Option("--count", "-c", min=0, help="End after so many.")] = 0,
    form: Annotated[str, typer.Option("--format", "-f", help="%t %p %o %T %k %s %S %h, as in kcat.")] = LINE,
    as_json: Annotated[bool, typer.Option("--json", "-J", help="One JSON object a line.")] = False,
    run: Annotated[str, typer.Option(help="Only of this run: its id, its first characters, or `last`.")] = "",
    kind: Annotated[str, typer.Option(help="Only of this kind; globs.")] = "",
    agent: Annotated[str, typer.Option(help="Only of this agent; globs.")] = "",
    data_dir: DataDir = None,
) -> None:
    """Print facts as they are committed, decoded; each partition in its order."""
    from agents_sdk.wire.registry import connect_codec

    now = time.time_ns() // 1_000_000
    begin = StartOffset(at_ms=parse_time(since, now)) if since else parse_offset(offset)
    last = parse_time(until, now) if until else None
    formatted(form, DecodedRecord("", 0, 0, 0, "", (), "", 0))  # refused before anything is read
    settings = load_settings(**({"data_dir": data_dir} if data_dir else {}))
    places = topic or [], partition
    records = _records(settings, connect_codec(settings), places, begin, last, end or bool(until))
    _print(records, Filter(named_run(run, data_dir), kind, agent), count, "" if as_json else form)


def _print(records: Iterator[tuple[DecodedRecord, dict[str, Any]]], wanted: Filter, count: int, form: str) -> None:
    """Those that are ``wanted``, at most ``count`` but for 0; as JSON without a format."""
    shown = 0
    for one, fact in records:
        if not wanted.lets_through(fact):
            continue
        document = {**_position(one), "value": fact}
        text = formatted(form, one) if form else escaped_json(json.dumps(document, ensure_ascii=False)) + "\n"
        sys.stdout.write(escaped(text, keep="\n\t") if interactive() else text)
        sys.stdout.flush()
        shown += 1
        if shown == count:
            break
    message(f"facts: {shown}")


def _position(one: DecodedRecord) -> dict[str, Any]:
    return {
        "topic": one.topic,
        "partition": one.partition,
        "offset": one.offset,
        "timestamp_ms": one.timestamp_ms,
        "key": one.key,
    }


def _records(
    settings: Settings,
    codec: Codec,
    where: tuple[list[str], int],
    begin: StartOffset,
    last_ms: int | None,
    until_end: bool,
) -> Iterator[tuple[DecodedRecord, dict[str, Any]]]:
    """Records from ``begin`` on; to their ends and ``last_ms`` with ``until_end``, else for ever."""
    from confluent_kafka import KafkaError, KafkaException

    from backplane.runtime.clients import reader

    consumer = reader(settings.kafka)
    try:
        places = _places(consumer, *where, begin)
        left = {(place.topic, place.partition) for place in places}
        consumer.assign(places)
        while left:
            for message_ in consumer.consume(500, timeout=POLL_S):
                place = str(message_.topic()), int(message_.partition() or 0)
                error = message_.error()
                if error is not None and error.code() != KafkaError._PARTITION_EOF:
                    raise KafkaException(error)
                late = last_ms is not None and error is None and message_.timestamp()[1] > last_ms
                if until_end and (error is not None or late):
                    left.discard(place)
                elif error is None and place in left:
                    yield _shown(message_, codec)
    finally:
        consumer.close()


def _places(consumer: Consumer, topics: list[str], partition: int, begin: StartOffset) -> list[TopicPartition]:
    from confluent_kafka import OFFSET_END, TopicPartition

    from agents_sdk.topics import FACT_TOPICS

    known = consumer.list_topics(timeout=10).topics
    if missing := [name for name in topics if name not in known]:
        raise CommandError("not_found", f"no topic {missing[0]!r}", "`backplane topics list` shows them")
    names = topics or [name for name in FACT_TOPICS if name in known]
    places = [(name, number) for name in names for number in known[name].partitions if partition in (-1, number)]
    if begin.at_ms is not None:
        from backplane.runtime.partitions import first_since

        begun = [(*place, first_since(consumer, *place, begin.at_ms)) for place in places]
        return [TopicPartition(name, number, OFFSET_END if at is None else at) for name, number, at in begun]
    wanted = begin.offset or 0
    found = []
    for place in places:
        low, high = consumer.get_watermark_offsets(TopicPartition(*place), timeout=10)
        start = wanted if begin != END and wanted >= 0 else high + wanted + 1
        found.append(TopicPartition(*place, min(max(start, low), high)))
    return found


def _shown(message_: Message, codec: Codec) -> tuple[DecodedRecord, dict[str, Any]]:
    """The record; what is no record of ours is shown as such, not passed over."""
    import msgspec

    from agents_sdk.wire.codec import Undecodable
    from agents_sdk.wire.consuming import headers_of

    value = message_.value() or b""
    try:
        fact: dict[str, Any] = msgspec.to_builtins(codec.decode(message_.value()))
    except Undecodable as error:
        fact = {"kind": "Undecodable", "error": str(error)}
    fact = {name: part for name, part in fact.items() if part not in ("", 0, False, [], None)}
    headers = [(name, _text(part)) for name, part in headers_of(message_)]
    place = (str(message_.topic()), int(message_.partition() or 0), int(message_.offset() or 0))
    text = json.dumps(fact, ensure_ascii=False)
    return DecodedRecord(*place, message_.timestamp()[1], _text(message_.key()), headers, text, len(value)), fact


def _text(part: str | bytes | None) -> str:
    return part.decode(errors="replace") if isinstance(part, bytes) else part or ""
