"""``python -m infra.local.contracts``: creates the topics, registers the schemas and the manifests, then ends."""

from __future__ import annotations

from importlib.metadata import version

from agents_sdk.settings import load_settings
from agents_sdk.wire.registry import connect_codec


def main() -> None:
    """Bring topics, schemas and the manifests of this release and of ``capabilities.paths`` to what the files say; an
    incompatible schema or a manifest that cannot be used ends it with an error."""
    from services.capabilities.publish import bring_up_to_date
    from services.topics.apply import apply_schemas, apply_topics

    settings = load_settings()
    for change in (*apply_topics(settings), *apply_schemas(settings)):
        print(change)
    for line in bring_up_to_date(settings, connect_codec(settings), version("agent-backplane")):
        print(line)


if __name__ == "__main__":
    main()
