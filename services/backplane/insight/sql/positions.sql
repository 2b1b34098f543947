-- How far is the store in each topic-partition, and when was that appended? Answered by the projection of this name.
SELECT topic, partition, count() AS rows, max(offset) AS last_offset, toUnixTimestamp64Milli(max(appended_at)) AS newest_ms
FROM events
GROUP BY topic, partition
