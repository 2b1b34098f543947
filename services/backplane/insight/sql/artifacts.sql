-- Which files did calls make or agents put, the newest first? Of one run, of one content, or all.
SELECT
    sha256, mime, size, run_id, agent, capability, provider, degraded, call_cost_nano_usd AS cost_nano_usd, call_id,
    event_id, toUnixTimestamp64Micro(at) AS at
FROM v_artifacts
WHERE ({run:String} = '' OR run_id = {run:String}) AND ({sha256:String} = '' OR sha256 = {sha256:String})
ORDER BY v_artifacts.at DESC, sha256
LIMIT {limit:UInt32}
