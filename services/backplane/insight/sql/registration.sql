-- What did an agent declare last: its inbox, its rights, its limits?
SELECT
    name, subscriptions, workflows, reads, writes, capabilities, publishes, max_deliveries, supervisor,
    handler_timeout_ms, toUnixTimestamp64Micro(at) AS at
FROM events
WHERE kind = 'AgentRegistered' AND name = {agent:String}
ORDER BY events.at DESC
LIMIT 1
