-- What was spent over time, in steps of so many seconds?
SELECT
    toUnixTimestamp(toStartOfInterval(at, toIntervalSecond({step:UInt32}))) AS at,
    sum(events.cost_nano_usd) AS cost_nano_usd,
    count() AS attempts,
    countIf(kind = 'AttemptFailed') AS failed
FROM events
WHERE kind IN ('AttemptSucceeded', 'AttemptFailed') AND events.at >= fromUnixTimestamp64Micro({since:Int64}, 'UTC')
GROUP BY at
ORDER BY at
