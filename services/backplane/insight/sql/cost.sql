-- What did some runs cost, by agent, capability, provider, model, run or day? Attempts only: they are the leaves. No
-- runs: all of them.
SELECT
    multiIf(
        {by:String} = 'agent', agent,
        {by:String} = 'capability', capability,
        {by:String} = 'model', model,
        {by:String} = 'run', run_id,
        {by:String} = 'day', toString(toDate(at)),
        provider) AS name,
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
WHERE empty({runs:Array(String)}) OR run_id IN {runs:Array(String)}
GROUP BY name
ORDER BY cost_nano_usd DESC, calls DESC, name
