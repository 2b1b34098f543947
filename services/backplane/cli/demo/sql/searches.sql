-- What was searched for, and which documents were found?
SELECT
    call_id,
    JSONExtractString(params, 'query') AS query,
    arrayMap(hit -> JSONExtractString(hit, 'id'), JSONExtractArrayRaw(result, 'hits')) AS found
FROM v_calls
WHERE run_id = {run:String} AND capability = 'web_search' AND status = 'completed'
