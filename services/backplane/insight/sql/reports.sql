-- What did the executor report of calls that met trouble?
SELECT event_id, report
FROM events
WHERE run_id IN {runs:Array(String)} AND report != ''
