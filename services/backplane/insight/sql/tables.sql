-- How large are the tables, and how much of that is bodies, which go first?
SELECT
    tables.name AS name,
    parts.rows AS rows,
    parts.parts AS parts,
    parts.bytes AS bytes_on_disk,
    bodies.bytes AS body_bytes
FROM
(
    SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree'
) AS tables
LEFT JOIN
(
    SELECT table AS name, sum(rows) AS rows, count() AS parts, sum(bytes_on_disk) AS bytes
    FROM system.parts
    WHERE database = currentDatabase() AND active
    GROUP BY table
) AS parts USING (name)
LEFT JOIN
(
    SELECT table AS name, sum(data_compressed_bytes) AS bytes
    FROM system.columns
    WHERE database = currentDatabase() AND name IN ('input', 'result', 'value', 'operand', 'data', 'params', 'rationale', 'detail')
    GROUP BY table
) AS bodies USING (name)
ORDER BY name
