-- How do capabilities and their providers do since a moment: latency, errors, cost?
SELECT
    capability,
    provider,
    uniqExact(run_id, call_id) AS calls,
    count() AS attempts,
    countIf(kind = 'AttemptFailed') AS failed,
    topKIf(1)(error_class, kind = 'AttemptFailed') AS errors,
    toInt64(quantileExactIf(0.5)(events.latency_us, kind = 'AttemptSucceeded')) AS p50_us,
    toInt64(quantileExactIf(0.95)(events.latency_us, kind = 'AttemptSucceeded')) AS p95_us,
    countIf(price_id = '') AS unpriced,
    sum(events.cost_nano_usd) AS cost_nano_usd,
    toUnixTimestamp64Micro(max(events.at)) AS last_at
FROM events
WHERE kind IN ('AttemptSucceeded', 'AttemptFailed') AND events.at >= fromUnixTimestamp64Micro({since:Int64}, 'UTC')
GROUP BY capability, provider
ORDER BY capability, attempts DESC, provider
