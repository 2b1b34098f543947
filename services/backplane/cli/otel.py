"""``backplane otel``: facts as OpenTelemetry spans, to any collector that takes OTLP over HTTP."""

from __future__ import annotations

from typing import Annotated

import typer

from backplane.cli.output import DataDir, message


def otel(
    endpoint: Annotated[
        str,
        typer.Option(
            envvar="OTEL_EXPORTER_OTLP_ENDPOINT", help="Base URL of the collector, e.g. http://localhost:4318."
        ),
    ] = "http://localhost:4318",
    content: Annotated[
        bool,
        typer.Option(
            "--content/--no-content",
            envvar="OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT",
            help="Send the params and results of calls along.",
        ),
    ] = False,
    once: Annotated[bool, typer.Option("--once", help="End when all there is has been exported.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Export spans until stopped: a run and its children are one trace, whose id is the root run's id without dashes.

    Goes on where it stopped, so nothing is left out; after a crash some spans are sent again, under the same ids. The
    headers, certificates and compression are OpenTelemetry's own variables (OTEL_EXPORTER_OTLP_HEADERS and so on).
    """
    import signal
    import threading

    from agents_sdk.settings import load_settings
    from backplane.otel.export import run

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    settings = load_settings(**({"data_dir": data_dir} if data_dir else {}))
    message(f"exporting to {endpoint}")
    exported = run(settings, stop, endpoint, content=content, once=once)
    message(f"{exported} spans exported")
