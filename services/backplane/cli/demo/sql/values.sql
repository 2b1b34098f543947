-- What did the run write, whole?
SELECT key, version, value
FROM events
WHERE run_id = {run:String} AND kind = 'StateWritten'
