"""From facts in Kafka to rows in ClickHouse, exactly once, and the questions that are asked of them."""
