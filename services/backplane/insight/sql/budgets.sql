-- What may each agent spend in a run, what did it spend, and what is set aside for its open calls and child runs? The
-- first row, without a name, is the run itself. Limits: -1 is none. An agent's is its latest declaration.
WITH
    calls AS
    (
        SELECT
            anyIf(events.agent, kind = 'CallRequested') AS payer,
            anyIf(events.budget_nano_usd, kind = 'CallRequested') AS reservation,
            sumIf(events.cost_nano_usd, kind IN ('AttemptSucceeded', 'AttemptFailed')) AS spent,
            countIf(kind IN ('CallCompleted', 'CallFailed')) = 0 AS open
        FROM events
        WHERE run_id = {run:String} AND call_id != ''
        GROUP BY call_id
    ),
    children AS
    (
        SELECT
            anyIf(events.agent, kind = 'ChildStarted') AS payer,
            anyIf(events.budget_nano_usd, kind = 'ChildStarted') AS reservation,
            sumIf(events.spent_nano_usd, kind = 'ChildEnded') AS spent,
            countIf(kind = 'ChildEnded') = 0 AS open
        FROM events
        WHERE run_id = {run:String} AND child_run_id != ''
        GROUP BY child_run_id
    ),
    moved AS
    (
        SELECT payer, spent, if(open, greatest(reservation - spent, 0), 0) AS reserved FROM calls
        UNION ALL
        SELECT payer, spent, if(open, greatest(reservation, 0), 0) AS reserved FROM children
    ),
    declared AS
    (
        SELECT name AS payer, argMax(events.budget_nano_usd, events.at) AS allowed
        FROM events
        WHERE kind = 'AgentRegistered'
        GROUP BY name
    )
SELECT *
FROM
-- in brackets, since ORDER BY would sort the part behind UNION ALL alone
(
    SELECT
        '' AS agent,
        (SELECT if(count() = 0, -1, any(events.budget_nano_usd)) FROM events WHERE run_id = {run:String} AND kind = 'RunStarted') AS limit_nano_usd,
        sum(spent) AS spent_nano_usd,
        sum(reserved) AS reserved_nano_usd
    FROM moved
    UNION ALL
    SELECT
        moved.payer AS agent,
        any(if(declared.payer = '', -1, declared.allowed)) AS limit_nano_usd,
        sum(moved.spent) AS spent_nano_usd,
        sum(moved.reserved) AS reserved_nano_usd
    FROM moved
    LEFT JOIN declared ON declared.payer = moved.payer
    GROUP BY moved.payer
)
ORDER BY agent
