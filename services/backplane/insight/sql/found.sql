-- Where does a text stand: in values, messages, results, prompts and reasons? The newest first.
SELECT
    toUnixTimestamp64Micro(at) AS at,
    run_id,
    run_seq,
    kind,
    agent,
    key,
    version,
    name,
    capability,
    topic,
    partition,
    offset,
    substringUTF8(text, greatest(1, toInt64(positionCaseInsensitiveUTF8(text, {text:String})) - 80), 240) AS excerpt
FROM
(
    SELECT *, multiIf(value != '', value, data != '', data, result != '', result, params != '', params, rationale != '', rationale, error_message != '', error_message, said != '', said, message) AS text
    FROM events
    WHERE {run:String} = '' OR run_id = {run:String}
)
WHERE kind IN ('StateWritten', 'MessagePublished', 'MessageSent', 'RequestSent', 'RequestAnswered', 'CallRequested', 'CallCompleted', 'DecisionRecorded', 'RunStarted', 'RunCompleted', 'RunFailed', 'RunCancelled', 'CallFailed', 'AttemptFailed', 'HandlerFailed', 'CommandRefused')
    AND positionCaseInsensitiveUTF8(text, {text:String}) > 0
ORDER BY at DESC, run_seq DESC
LIMIT {limit:UInt32}
