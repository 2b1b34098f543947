-- How much of a run is in the store? Its facts count 1, 2, … without gaps, so the highest number tells what is missing.
SELECT
    count() AS facts,
    max(run_seq) AS last_seq,
    countIf(kind IN ('RunCompleted', 'RunFailed', 'RunCancelled')) AS ended
FROM events
WHERE run_id = {run:String} AND run_seq > 0
