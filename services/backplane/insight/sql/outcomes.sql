-- How did calls of each capability end since a moment?
SELECT
    capability,
    countIf(kind = 'CallRequested') AS calls,
    countIf(kind = 'CallCompleted' AND NOT events.degraded) AS completed,
    countIf(kind = 'CallCompleted' AND events.degraded) AS degraded,
    countIf(kind = 'CallFailed') AS failed,
    countIf(kind = 'CallCompleted' AND events.attempts > 1) AS helped,
    toInt64(quantileExactIf(0.5)(events.latency_us, kind = 'CallCompleted')) AS p50_us,
    toInt64(quantileExactIf(0.95)(events.latency_us, kind = 'CallCompleted')) AS p95_us
FROM events
WHERE kind IN ('CallRequested', 'CallCompleted', 'CallFailed') AND events.at >= fromUnixTimestamp64Micro({since:Int64}, 'UTC')
GROUP BY capability
ORDER BY calls DESC, capability
