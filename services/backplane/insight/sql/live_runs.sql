-- How many runs have begun and not ended?
SELECT uniqExactIf(run_id, kind = 'RunStarted') - uniqExactIf(run_id, kind IN ('RunCompleted', 'RunFailed', 'RunCancelled')) AS count
FROM events
WHERE kind IN ('RunStarted', 'RunCompleted', 'RunFailed', 'RunCancelled')
