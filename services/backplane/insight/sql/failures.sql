-- What went wrong last?
SELECT
    toUnixTimestamp64Micro(at) AS at,
    if(events.run_id = '', about_run_id, events.run_id) AS run_id,
    run_seq,
    kind,
    multiIf(recipient != '', recipient, agent) AS agent,
    multiIf(capability != '', capability, name != '', name, command_kind != '', command_kind, workflow) AS about,
    provider,
    multiIf(error_code != '', error_code, error_class != '', error_class, error_type != '', error_type, code != '', code, cause) AS error,
    substringUTF8(multiIf(kind = 'CallFailed', error_message, message != '', message, reason), 1, 300) AS message,
    substringUTF8(multiIf(said != '', said, kind = 'CallFailed', '', error_message), 1, 300) AS said,
    multiIf(said_by != '', said_by, kind = 'AttemptFailed', concat('provider ', provider), recipient) AS said_by,
    topic,
    partition,
    offset
FROM events
WHERE kind IN ('AttemptFailed', 'CallFailed', 'HandlerFailed', 'MessageDeadLettered', 'RunFailed', 'CommandRefused', 'RequestFailed', 'RequestExpired', 'DependencyExpired')
ORDER BY at DESC, run_seq DESC
LIMIT {limit:UInt32}
