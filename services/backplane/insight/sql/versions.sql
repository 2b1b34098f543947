-- Which versions did a key have, who wrote each, and what did it say?
SELECT version, agent, toUnixTimestamp64Micro(at) AS at, kind, size, value_hash, event_id, run_seq, topic, partition, offset, value
FROM events
WHERE run_id = {run:String} AND key = {key:String} AND kind IN ('StateWritten', 'StateDeleted', 'StateExpired')
ORDER BY version DESC
LIMIT {limit:UInt32}
