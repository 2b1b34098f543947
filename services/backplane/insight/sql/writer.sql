-- Which fact made this version of a key?
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
WHERE run_id = {run:String} AND key = {key:String} AND version = {version:Int64}
    AND kind IN ('StateWritten', 'StateDeleted', 'StateExpired')
LIMIT 1
