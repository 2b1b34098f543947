-- Which state keys were written, in one run or anywhere, who wrote them last and how often were they read?
SELECT
    run_id,
    key,
    countIf(kind IN ('StateWritten', 'StateDeleted', 'StateExpired')) AS versions,
    max(events.version) AS version,
    argMaxIf(kind, events.version, kind IN ('StateWritten', 'StateDeleted', 'StateExpired')) != 'StateWritten' AS deleted,
    argMaxIf(events.agent, events.version, kind IN ('StateWritten', 'StateDeleted', 'StateExpired')) AS agent,
    argMaxIf(events.size, events.version, kind = 'StateWritten') AS size,
    countIf(kind = 'StateRead') AS reads,
    toUnixTimestamp64Micro(maxIf(events.at, kind IN ('StateWritten', 'StateDeleted', 'StateExpired'))) AS at
FROM events
WHERE kind IN ('StateWritten', 'StateDeleted', 'StateExpired', 'StateRead')
    AND ({run:String} = '' OR run_id = {run:String})
    AND ({text:String} = '' OR positionCaseInsensitiveUTF8(key, {text:String}) > 0)
GROUP BY run_id, key
HAVING versions > 0
ORDER BY at DESC, run_id, key
LIMIT {limit:UInt32}
