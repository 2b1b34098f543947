-- Partitions that stand still before a record at which workers died, and that nobody has brought back.
SELECT
    partition,
    JSONExtractInt(detail, 'offset') AS record,
    max(toUnixTimestamp64Micro(at)) AS since_us,
    any(message) AS message
FROM events
WHERE kind = 'CommandRefused' AND code = 'put_aside'
    AND (partition, JSONExtractInt(detail, 'offset')) NOT IN
        (SELECT partition, command_offset FROM events WHERE kind = 'CommandRefused' AND code = 'skipped')
GROUP BY partition, record
ORDER BY partition
