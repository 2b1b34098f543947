-- Which messages were delivered in a run, and what became of each?
SELECT
    delivery_id, message_id, name, sender, recipient, status, deliveries,
    toUnixTimestamp64Micro(delivered_at) AS delivered_at,
    if(settled_at IS NULL, 0, toUnixTimestamp64Micro(assumeNotNull(settled_at))) AS settled_at,
    substringUTF8(error_message, 1, 300) AS error_message,
    reason,
    substringUTF8(said, 1, 300) AS said,
    said_by,
    traceback,
    substringUTF8(data, 1, 4000) AS data
FROM v_messages
WHERE run_id = {run:String}
ORDER BY v_messages.delivered_at, delivery_id
LIMIT {limit:UInt32}
