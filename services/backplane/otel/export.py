"""The exporter's loop: facts from Kafka, spans to an OpenTelemetry collector by OTLP over HTTP.

Order of work, which is the delivery guarantee: read, project, export, and only then commit the offsets. A crash sends
spans again under the same ids; none is left out. A collector that is away stops this process and nothing else.
The endpoint, headers, certificates and compression are OpenTelemetry's own environment variables:
https://opentelemetry.io/docs/specs/otel/protocol/exporter/
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, Final

from agents_sdk.core.facts import Fact
from agents_sdk.patience import Patience
from agents_sdk.proofs import ProofChecker, fact_guard
from agents_sdk.proxies import proxy_for
from agents_sdk.topics import FACT_TOPICS
from agents_sdk.wire.codec import Undecodable
from agents_sdk.wire.consuming import headers_of
from backplane.otel.openings import Openings
from backplane.otel.spans import OPENS, Span, is_span, span

if TYPE_CHECKING:
    from confluent_kafka import Consumer
    from opentelemetry.sdk.trace import ReadableSpan

    from agents_sdk.settings import Settings

log = logging.getLogger("backplane.otel")

GROUP: Final = "bp.otel"
SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.41.0"
SESSION_TIMEOUT_MS: Final = 6_000
"""How long the partitions of a killed exporter wait for the next one."""
MAX_SPANS: Final = 512
"""A request; OpenTelemetry's own default for batches."""
LINGER_S: Final = 0.5
PAUSES_S: Final = (0.5, 1.0, 2.0, 5.0, 10.0)
"""Between attempts while the collector takes nothing; the last one repeats."""


class Exporter:
    """Facts in, spans out. ``send`` says whether the collector took them."""

    def __init__(
        self,
        consumer: Consumer,
        decode: Callable[[bytes | None], object],
        openings: Openings,
        send: Callable[[Sequence[Span]], bool],
        stop: threading.Event,
        *,
        content: bool = False,
        once: bool = False,
        guard: ProofChecker | None = None,
    ) -> None:
        """``content``: params and results too. ``once``: end where the log ends. A fact that ``guard`` does not believe
        gives no span."""
        self._consumer = consumer
        self._decode = decode
        self._openings = openings
        self._send = send
        self._stop = stop
        self._content = content
        self._once = once
        self._guard = guard
        self._ended: set[tuple[str | None, int | None]] = set()
        """Partitions read to their end."""
        self.exported = 0

    def run(self) -> None:
        """Works until ``stop`` is set. Raises KafkaException where Kafka cannot be read for good."""
        self._consumer.subscribe(list(FACT_TOPICS))
        while not self._stop.is_set():
            messages = self._consumer.consume(MAX_SPANS, timeout=LINGER_S)
            spans = self.project(self._facts(messages))
            if spans and not self._sent(spans):
                return
            if any(message.error() is None for message in messages):
                self._commit()
            if self._once and self._at_the_end():
                return

    def _commit(self) -> None:
        from confluent_kafka import KafkaException

        try:
            self._consumer.commit(asynchronous=False)
        except KafkaException as error:
            # a broker that is away, a partition that is another exporter's now: the spans are sent again, the same
            log.warning("how far the export is, is not committed: %s", error)

    def project(self, facts: Iterable[Fact]) -> list[Span]:
        """The spans that these facts give, in their order."""
        found = []
        for fact in facts:
            if fact.kind in OPENS:
                self._begin(fact)
            elif is_span(fact):
                found += self._span(fact)
        return found

    def _begin(self, fact: Fact) -> None:
        try:
            self._openings.begin(fact)
        except Exception:  # a fact that no ledger decided: it opens nothing
            log.exception("%s %s is passed over", fact.kind, fact.event_id)

    def _span(self, fact: Fact) -> list[Span]:
        try:
            return [span(fact, self._openings.end(fact), self._content)]
        except Exception:  # as above: it is no span, and the others are
            log.exception("%s %s is no span", fact.kind, fact.event_id)
            return []

    def _facts(self, messages: Iterable[Any]) -> Iterable[Fact]:
        for message in messages:
            place = (message.topic(), message.partition())
            if message.error() is not None:
                self._fault(message.error(), place)
                continue
            self._ended.discard(place)
            if self._doubted(message):
                log.warning("%s[%d] offset %d is passed over: its writer is not proven", *place, message.offset())
                continue
            try:
                fact = self._decode(message.value())
            except Undecodable as error:
                # it is the sink that puts it into a dead-letter topic; here it is only not a span
                log.warning("%s[%d] offset %d is no fact: %s", *place, message.offset(), error)
                continue
            if isinstance(fact, Fact):
                yield fact

    def _doubted(self, message: Any) -> bool:
        """A copy gives the same span again, which does no harm: where it stands in the order does not matter."""
        guard, topic, partition = self._guard, message.topic(), message.partition()
        if guard is None or guard.is_before(topic, partition, message.offset()):
            return False
        return guard.place(topic, partition, message.key(), message.value(), headers_of(message)) is None

    def _fault(self, error: Any, place: tuple[str | None, int | None]) -> None:
        from confluent_kafka import KafkaError, KafkaException

        if error.code() == KafkaError._PARTITION_EOF:
            self._ended.add(place)
        elif error.fatal():
            raise KafkaException(error)
        else:
            log.warning("Kafka: %s", error)

    def _at_the_end(self) -> bool:
        assigned = {(each.topic, each.partition) for each in self._consumer.assignment()}
        return bool(assigned) and assigned <= self._ended

    def _sent(self, spans: Sequence[Span]) -> bool:
        """Sends until the collector has taken them; False: it was stopped first."""
        for pause in chain(PAUSES_S, repeat(PAUSES_S[-1])):
            if self._taken(spans):
                self.exported += len(spans)
                return True
            log.warning("the collector does not take %d spans; next attempt in %g s", len(spans), pause)
            if self._stop.wait(pause):
                return False
        return False

    def _taken(self, spans: Sequence[Span]) -> bool:
        """Whether the collector took them. Spans that cannot even be encoded are found one by one, and left out."""
        try:
            return self._send(spans)
        except Exception:
            if len(spans) == 1:
                log.exception("span %s cannot be sent and is left out", spans[0].name[:200])
                return True
            half = len(spans) // 2
            return self._taken(spans[:half]) and self._taken(spans[half:])


def collector(endpoint: str = "") -> Callable[[Sequence[Span]], bool]:
    """A ``send`` that is OpenTelemetry's own OTLP exporter. ``endpoint``: the collector's base URL, instead of
    ``OTEL_EXPORTER_OTLP_ENDPOINT``. Raises ProxyUnusable."""
    import requests
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import SpanExportResult

    variables = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    address = endpoint or next(filter(None, map(os.environ.get, variables)), "http://localhost:4318")
    proxy = proxy_for(address, os.environ)
    session = requests.Session()
    session.trust_env = False
    session.proxies = {"http": proxy.url, "https": proxy.url} if proxy else {}
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces" if endpoint else None, session=session)
    readable = Readable()

    def send(spans: Sequence[Span]) -> bool:
        return exporter.export([readable(each) for each in spans]) is SpanExportResult.SUCCESS

    return send


class Readable:
    """Our spans as OpenTelemetry's."""

    def __init__(self) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope

        self._resource = Resource.create({"service.name": "backplane"})
        self._scope = InstrumentationScope("backplane", schema_url=SCHEMA_URL)

    def __call__(self, each: Span) -> ReadableSpan:
        """The same span, times in nanoseconds."""
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

        flags = TraceFlags(TraceFlags.SAMPLED)

        def context(identity: int) -> SpanContext:
            return SpanContext(each.trace_id, identity, is_remote=False, trace_flags=flags)

        return ReadableSpan(
            name=each.name,
            context=context(each.span_id),
            parent=context(each.parent_id) if each.parent_id else None,
            resource=self._resource,
            attributes=each.attributes,
            kind=SpanKind[each.kind.upper()],
            status=Status(StatusCode.ERROR, each.error) if each.error else Status(StatusCode.UNSET),
            start_time=each.start * 1000,
            end_time=each.end * 1000,
            instrumentation_scope=self._scope,
        )


def run(
    settings: Settings, stop: threading.Event, endpoint: str = "", *, content: bool = False, once: bool = False
) -> int:
    """Exports until ``stop`` is set, or with ``once`` what there is; how many spans the collector took."""
    from agents_sdk.wire.registry import connect_codec
    from backplane.otel.openings import StoreLookUp
    from backplane.runtime.clients import reader

    patience = Patience(log)
    connect = partial(connect_codec, settings)
    codec = connect() if once else patience.until_blocking(connect, stop)
    consumer = reader(
        settings.kafka, group_id=GROUP, enable_auto_offset_store=True, session_timeout_ms=SESSION_TIMEOUT_MS
    )
    openings = Openings(StoreLookUp(settings), content)
    exporter = Exporter(
        consumer,
        codec.decode,
        openings,
        collector(endpoint),
        stop,
        content=content,
        once=once,
        guard=fact_guard(settings),
    )
    try:
        exporter.run()
    finally:
        consumer.close()
    return exporter.exported
