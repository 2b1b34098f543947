"""From facts in Kafka to rows in ClickHouse, exactly once, see ``ingest``."""
