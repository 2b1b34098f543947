-- How does everything do since a moment? Runs by the fact that they ended with; money on attempts only.
SELECT
    uniqExactIf(run_id, kind = 'RunStarted') AS runs_started,
    uniqExactIf(run_id, kind = 'RunCompleted') AS runs_completed,
    uniqExactIf(run_id, kind IN ('RunFailed', 'RunCancelled')) AS runs_failed,
    countIf(kind IN ('AttemptSucceeded', 'AttemptFailed')) AS attempts,
    countIf(kind = 'AttemptFailed') AS attempts_failed,
    countIf(kind = 'CallFailed') AS calls_failed,
    countIf(kind = 'CommandRefused') AS refused,
    countIf(kind IN ('AttemptSucceeded', 'AttemptFailed') AND price_id = '') AS unpriced,
    sum(cost_nano_usd) AS cost_nano_usd,
    count() AS facts
FROM events
WHERE at >= fromUnixTimestamp64Micro({since:Int64}, 'UTC')
