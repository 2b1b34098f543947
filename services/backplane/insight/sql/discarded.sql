-- Which calls of some runs (none named: of all) served nothing, and what did they cost? What their failed attempts cost
-- is wasted anyhow, and not counted here.
SELECT
    run_id,
    call_id,
    any(v_cost.agent) AS agent,
    any(v_cost.capability) AS capability,
    sum(v_cost.cost_nano_usd) AS cost_nano_usd
FROM v_cost
WHERE succeeded AND (empty({runs:Array(String)}) OR run_id IN {runs:Array(String)})
    AND (run_id, call_id) IN (SELECT run_id, call_id FROM v_discarded(runs = {runs:Array(String)}))
GROUP BY run_id, call_id
ORDER BY cost_nano_usd DESC, run_id, call_id
