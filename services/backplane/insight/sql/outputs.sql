-- Which values and results of a run may name files? The text is looked through by the reader.
SELECT run_seq, toUnixTimestamp64Micro(at) AS at, kind, agent, key, version, capability, provider, call_id, if(value != '', value, result) AS text
FROM events
WHERE run_id = {run:String} AND kind IN ('StateWritten', 'CallCompleted')
    AND (value LIKE '%"path"%' OR result LIKE '%"path"%' OR value LIKE '%artifact%' OR result LIKE '%artifact%' OR value LIKE '%"sha256"%' OR result LIKE '%"sha256"%')
ORDER BY run_seq
LIMIT {limit:UInt32}
