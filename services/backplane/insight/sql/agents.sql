-- Which agents are there, what did they do, and what did it cost? What they cost is asked of the calls they made.
SELECT
    agent,
    max(deliveries) AS deliveries,
    max(failed) AS failed,
    max(dead) AS dead,
    max(decisions) AS decisions,
    max(writes) AS writes,
    max(calls) AS calls,
    max(refused) AS refused,
    max(runs) AS runs,
    toUnixTimestamp64Micro(max(last_at)) AS last_at,
    max(cost) AS cost_nano_usd
FROM
(
    SELECT
        multiIf(kind IN ('MessageDelivered', 'MessageDeadLettered'), events.recipient, kind = 'AgentRegistered', events.name, events.agent) AS agent,
        countIf(kind = 'MessageDelivered') AS deliveries,
        countIf(kind = 'HandlerFailed') AS failed,
        countIf(kind = 'MessageDeadLettered') AS dead,
        countIf(kind = 'DecisionRecorded') AS decisions,
        countIf(kind = 'StateWritten') AS writes,
        countIf(kind = 'CallRequested') AS calls,
        countIf(kind = 'CommandRefused') AS refused,
        uniqExactIf(run_id, run_id != '') AS runs,
        max(events.at) AS last_at,
        toInt64(0) AS cost
    FROM events
    WHERE kind IN ('AgentRegistered', 'MessageDelivered', 'HandlerFailed', 'MessageDeadLettered', 'DecisionRecorded', 'StateWritten', 'CallRequested', 'CommandRefused')
    GROUP BY agent
    UNION ALL
    SELECT agent, 0, 0, 0, 0, 0, 0, 0, 0, max(v_cost.at), sum(v_cost.cost_nano_usd)
    FROM v_cost
    GROUP BY agent
)
WHERE agent != '' AND NOT startsWith(agent, 'bp.')
GROUP BY agent
ORDER BY last_at DESC, agent
