-- What did each state key cost? A call counts for the key that its handler wrote next after it; calls of handlers that
-- wrote nothing more, and of clients, for none. Each counts once, so the sum is that of all other ways to ask.
SELECT
    written.key AS name,
    uniqExact(run_id, call_id) AS calls,
    count() AS attempts,
    countIf(NOT succeeded) AS failed,
    countIf(attempt > 1) AS retries,
    uniqExactIf((run_id, call_id), degraded) AS degraded,
    countIf(NOT priced) AS unpriced,
    sum(v_cost.cost_nano_usd) AS cost_nano_usd,
    sumIf(v_cost.cost_nano_usd, NOT succeeded) AS wasted_nano_usd,
    sum(v_cost.input_tokens) AS input_tokens,
    sum(v_cost.output_tokens) AS output_tokens,
    sum(v_cost.latency_us) AS latency_us
FROM v_cost
ASOF LEFT JOIN
(
    SELECT run_id, causation_id, run_seq, key
    FROM events
    WHERE kind IN ('StateWritten', 'StateDeleted') AND causation_id != ''
        AND (empty({runs:Array(String)}) OR run_id IN {runs:Array(String)})
) AS written ON v_cost.run_id = written.run_id AND v_cost.handled = written.causation_id AND v_cost.requested_seq < written.run_seq
WHERE empty({runs:Array(String)}) OR run_id IN {runs:Array(String)}
GROUP BY name
ORDER BY cost_nano_usd DESC, calls DESC, name
