-- How do the providers do? Attempts of the last minutes, by provider.
SELECT
    capability,
    provider,
    count() AS attempts,
    countIf(kind = 'AttemptFailed') AS failed,
    toInt64(quantile(0.5)(latency_us)) AS p50_us,
    toInt64(quantile(0.95)(latency_us)) AS p95_us,
    argMaxIf(error_class, at, kind = 'AttemptFailed') AS last_error
FROM events
WHERE kind IN ('AttemptSucceeded', 'AttemptFailed') AND at > now64(6) - toIntervalMinute({minutes:UInt32})
GROUP BY capability, provider
ORDER BY capability, provider
