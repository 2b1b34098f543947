-- What did the handlers of a run read from long-term memories? Those facts lie in the memories' own runs.
SELECT
    run_id,
    run_seq,
    toUnixTimestamp64Micro(at) AS at,
    kind,
    agent,
    event_id,
    causation_id,
    topic,
    partition,
    offset,
    key,
    version,
    size
FROM events
WHERE causation_id IN (SELECT event_id FROM events WHERE run_id = {run:String} AND kind = 'MessageDelivered')
    AND startsWith(run_id, 'memory/') AND kind = 'StateRead' AND version > 0
ORDER BY at, run_id, run_seq
