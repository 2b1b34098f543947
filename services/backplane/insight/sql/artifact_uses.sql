-- Which calls were given a file, the newest first?
SELECT run_id, call_id, event_id, agent, capability, toUnixTimestamp64Micro(at) AS at
FROM events
WHERE kind = 'CallRequested' AND has(artifacts, {sha256:String})
ORDER BY events.at DESC, event_id
LIMIT {limit:UInt32}
