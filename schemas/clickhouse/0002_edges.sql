-- What rests on what, one row per edge; derived by the sink from the facts alone, see services/backplane/sink/edges.py.
--
-- An edge leads from a fact (child_event) to what it rests on: another fact (parent_event), or a version of a state key
-- (state_key, version) whose writer is the child of the 'wrote' edge of that version.
-- ORDER BY (run_id, child_event): up the lineage; the projection by_parent is the same rows the other way round. A
-- projection is part of its part: both directions appear in one commit, which a second table could not promise.
-- The sink inserts the edges of a batch before its events and resumes each table after its own highest offset, so a
-- crash between the two leaves edges that are not written again, and never an event without its edges.
CREATE TABLE {database}.edges {cluster}
(
    topic LowCardinality(String),
    partition Int32 CODEC(T64, LZ4),
    offset Int64 CODEC(Delta, ZSTD(1)),
    at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    run_id String CODEC(ZSTD(1)),
    relation LowCardinality(String) COMMENT 'cause, read, wrote, decided, called, delivered, handled or satisfied',
    child_event String CODEC(ZSTD(1)),
    parent_event String CODEC(ZSTD(1)) COMMENT 'empty where the parent is a version of a state key',
    state_key String CODEC(ZSTD(1)),
    version Int64 CODEC(T64, LZ4),

    INDEX by_state state_key TYPE bloom_filter(0.01) GRANULARITY 1,
    PROJECTION by_parent (SELECT * ORDER BY (parent_event, child_event)),
    PROJECTION positions (SELECT topic, partition, max(offset), count() GROUP BY topic, partition)
)
ENGINE = {replicated}MergeTree
PARTITION BY toYYYYMM(at)
ORDER BY (run_id, child_event, relation, parent_event, state_key, version)
SETTINGS min_bytes_for_wide_part = 268435456, non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'What rests on what. Example: what did event E lead to? SELECT child_event, relation FROM edges WHERE parent_event = ''E''';
