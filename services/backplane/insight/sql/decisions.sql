-- What did an agent decide last, and why?
SELECT toUnixTimestamp64Micro(at) AS at, run_id, run_seq, action, substringUTF8(rationale, 1, 300) AS rationale, context_used
FROM events
WHERE kind = 'DecisionRecorded' AND agent = {agent:String}
ORDER BY events.at DESC, run_seq DESC
LIMIT {limit:UInt32}
