-- What may each agent spend in a run, and on one call of which capabilities, by its latest declaration? -1 is no limit.
SELECT
    name AS agent,
    argMax(events.budget_nano_usd, events.at) AS budget_nano_usd,
    argMax(events.capabilities, events.at) AS capabilities,
    argMax(events.call_budgets, events.at) AS call_budgets
FROM events
WHERE kind = 'AgentRegistered'
GROUP BY name
ORDER BY name
