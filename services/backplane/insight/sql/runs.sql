-- Which runs were there, the newest first, and how did they end? A run lasts until its end: an attempt that was under way
-- then is recorded and paid for, and makes the run neither longer nor worse.
SELECT
    run_id,
    anyIf(workflow, kind = 'RunStarted') AS workflow,
    multiIf(
        countIf(kind = 'RunCompleted') > 0, 'completed',
        countIf(kind = 'RunFailed') > 0, 'failed',
        countIf(kind = 'RunCancelled') > 0, 'cancelled',
        'running') AS status,
    toUnixTimestamp64Micro(min(at)) AS started_at,
    toUnixTimestamp64Micro(if(status = 'running', maxIf(at, run_seq > 0), maxIf(at, kind IN ('RunCompleted', 'RunFailed', 'RunCancelled')))) AS last_at,
    countIf(run_seq > 0) AS facts,
    max(run_seq) AS last_seq,
    uniqExactIf(recipient, kind = 'MessageDelivered') AS agents,
    countIf(kind = 'CallRequested') AS calls,
    maxIf(run_seq, kind IN ('RunCompleted', 'RunFailed', 'RunCancelled')) AS ended_seq,
    arrayCount(seq -> ended_seq = 0 OR seq < ended_seq, groupArrayIf(run_seq, run_seq > 0 AND kind IN ('AttemptFailed', 'HandlerFailed', 'CommandRefused'))) AS failures,
    sum(cost_nano_usd) AS cost_nano_usd,
    countIf(kind IN ('AttemptSucceeded', 'AttemptFailed') AND price_id = '') AS unpriced,
    anyIf(reason, kind IN ('RunFailed', 'RunCancelled')) AS reason,
    anyIf(code, kind IN ('RunFailed', 'RunCancelled')) AS code,
    anyIf(said, kind IN ('RunFailed', 'RunCancelled')) AS said,
    anyIf(said_by, kind IN ('RunFailed', 'RunCancelled')) AS said_by,
    anyIf(events.parent_run_id, kind = 'RunStarted') AS parent_run_id,
    anyIf(events.root_run_id, kind = 'RunStarted') AS root_run_id,
    countIf(kind = 'ChildStarted') AS children,
    anyIf(events.resumed_from, kind = 'RunStarted') AS resumed_from,
    anyIf(events.tags, kind = 'RunStarted') AS tags
FROM events
WHERE run_id IN
(
    SELECT run_id
    FROM events
    WHERE kind = 'RunStarted' AND ({run:String} = '' OR run_id = {run:String})
        AND ({root:String} = '' OR root_run_id = {root:String})
        AND ({roots:UInt8} = 0 OR parent_run_id = '')
        AND ({workflow:String} = '' OR workflow = {workflow:String})
        AND ({tag:String} = '' OR has(tags, {tag:String}))
        AND ({before:Int64} = 0 OR toUnixTimestamp64Micro(at) < {before:Int64})
        AND ({status:String} IN ('', 'running') OR run_id IN
        (
            SELECT run_id FROM events
            WHERE kind = transform({status:String}, ['completed', 'failed', 'cancelled'], ['RunCompleted', 'RunFailed', 'RunCancelled'], '')
        ))
        AND ({status:String} != 'running' OR run_id NOT IN
        (
            SELECT run_id FROM events WHERE kind IN ('RunCompleted', 'RunFailed', 'RunCancelled')
        ))
    ORDER BY at DESC, run_id DESC
    LIMIT {limit:UInt32}
)
GROUP BY run_id
ORDER BY started_at DESC, run_id DESC
