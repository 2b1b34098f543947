-- Does each topic-partition have one row an offset? Rows equal distinct offsets; gaps are transaction markers.
SELECT
    topic,
    partition,
    count() AS rows,
    uniqExact(offset) AS offsets,
    min(offset) AS first_offset,
    max(offset) AS last_offset,
    countIf(kind = 'Unreadable') AS unreadable
FROM events
GROUP BY topic, partition
ORDER BY topic, partition
