"""ClickHouse itself: the embedded engine, its HTTP port, what may be asked of it, its schema."""
