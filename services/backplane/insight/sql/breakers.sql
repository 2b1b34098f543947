-- Which circuit breakers are not closed? The last transition of each, and how many attempts caused it.
SELECT
    capability,
    provider,
    error_class,
    argMax(kind, command_offset) AS last,
    toUnixTimestamp64Micro(argMax(open_until, command_offset)) AS until_us,
    argMax(opened, command_offset) AS times,
    argMax(caused_by, command_offset) AS caused_by
FROM events
WHERE topic = 'bp.breakers'
GROUP BY capability, provider, error_class
HAVING last != 'BreakerClosed'
ORDER BY capability, provider, error_class
