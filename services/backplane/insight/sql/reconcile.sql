-- Does each topic-partition have one row an offset, up to where it was just now? A bitmap counts the different offsets
-- exactly, in little memory; gaps between them are transaction markers.
SELECT
    topic,
    partition,
    count() AS rows,
    groupBitmap(toUInt64(offset)) AS offsets,
    min(offset) AS first_offset,
    countIf(kind = 'Unreadable') AS unreadable,
    sum({edges_count}) AS edges_due
FROM events
WHERE offset <= transform(concat(topic, '/', toString(partition)), {places:Array(String)}, {bounds:Array(Int64)}, toInt64(-1))
GROUP BY topic, partition
