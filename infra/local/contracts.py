"""``python -m infra.local.contracts``: creates the topics and registers the schemas, then ends."""

from __future__ import annotations

from agents_sdk.settings import load_settings


def main() -> None:
    """Bring topics and schemas to what ``schemas/`` says; an incompatible schema ends it with an error."""
    from services.topics.apply import apply_schemas, apply_topics

    settings = load_settings()
    for change in (*apply_topics(settings), *apply_schemas(settings)):
        print(change)


if __name__ == "__main__":
    main()
