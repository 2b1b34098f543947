-- Two sinks on one server: each insert is named after the state of the table that it starts from, and of inserts with one
-- name the server takes the first. An insert that a sink sends late is known by its name for so many inserts: at two and
-- a half a second for more than an hour. A name is 100 bytes of memory.
ALTER TABLE {database}.events {cluster} MODIFY SETTING non_replicated_deduplication_window = 10000;
ALTER TABLE {database}.edges {cluster} MODIFY SETTING non_replicated_deduplication_window = 10000;
