-- Who read a key, and at which version?
SELECT version, agent, toUnixTimestamp64Micro(at) AS at, event_id, run_seq
FROM events
WHERE run_id = {run:String} AND key = {key:String} AND kind = 'StateRead'
ORDER BY run_seq
LIMIT {limit:UInt32}
