-- What did each agent pay to whom? Attempts only: they are the leaves.
SELECT
    agent,
    capability,
    provider,
    uniqExact(call_id) AS calls,
    count() AS attempts,
    countIf(NOT succeeded) AS failed,
    countIf(NOT priced) AS unpriced,
    sum(v_cost.input_tokens) AS input_tokens,
    sum(v_cost.output_tokens) AS output_tokens,
    sum(v_cost.latency_us) AS latency_us,
    sum(v_cost.cost_nano_usd) AS cost_nano_usd
FROM v_cost
WHERE run_id = {run:String}
GROUP BY agent, capability, provider
ORDER BY min(v_cost.at), provider DESC
