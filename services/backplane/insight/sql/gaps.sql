-- Which runs lack facts? A run's facts count 1, 2, …; one whose beginning was dropped by retention counts from there.
-- Runs with a fact after {before} may still be on their way into the store.
SELECT run_id, max(run_seq) - min(run_seq) + 1 - count() AS missing
FROM events
WHERE run_seq > 0
GROUP BY run_id
HAVING missing != 0 AND max(appended_at) < fromUnixTimestamp64Milli({before:Int64})
ORDER BY run_id
LIMIT 100
