-- Views for people: stable names over the wide table, money in USD. Each comment holds a question it answers.
--
-- emptied: the body was there and is gone, since bodies are kept for 90 days; an empty text does not stand for a value.
-- Bodies are JSON, whose shortest text is not empty, so this is exact. Hash, size and place in Kafka stay.

-- Attempts are sent by the executor; the agent that pays is the one that asked for the call. One pass and no join: the
-- facts of a call are put together by run and call, so a filter on runs is a range of the primary key.
-- No roll-up of all runs: who pays for an attempt is said by the CallRequested, in another topic, and calls and degraded
-- count a call once, whose attempts, outcome and attempts after that come in batches of their own. So they do not add up
-- over batches, as positions does, and a copy made anew now and then would be late: money that is late is wrong. Asked
-- of ten million facts it is four seconds of processor; of a run, milliseconds; what needs no caller (sums of attempts by
-- provider, model or day, straight from events), 0.2 s.
CREATE VIEW {database}.v_cost {cluster} AS
SELECT
    run_id,
    root_run_id,
    agent,
    tried.capability AS capability,
    tried.provider AS provider,
    tried.model AS model,
    call_id,
    tried.attempt AS attempt,
    tried.succeeded AS succeeded,
    degraded,
    tried.price_id AS price_id,
    tried.price_id != '' AS priced,
    tried.cost_nano_usd AS cost_nano_usd,
    CAST(tried.cost_nano_usd, 'Decimal(38, 9)') / 1000000000 AS cost_usd,
    tried.input_tokens AS input_tokens,
    tried.output_tokens AS output_tokens,
    tried.latency_us AS latency_us,
    tried.at AS at,
    handled,
    requested_seq
FROM
(
    SELECT
        run_id,
        call_id,
        any(events.root_run_id) AS root_run_id,
        anyIf(events.agent, kind = 'CallRequested') AS agent,
        anyIf(events.causation_id, kind = 'CallRequested') AS handled,
        anyIf(events.run_seq, kind = 'CallRequested') AS requested_seq,
        max(events.degraded) AS degraded,
        groupArrayIf(
            CAST(
                (events.capability, provider, model, attempt, kind = 'AttemptSucceeded', price_id, cost_nano_usd, input_tokens, output_tokens, latency_us, at),
                'Tuple(capability String, provider String, model String, attempt Int32, succeeded Bool, price_id String, cost_nano_usd Int64, input_tokens Int64, output_tokens Int64, latency_us Int64, at DateTime64(6, \'UTC\'))'
            ),
            kind IN ('AttemptSucceeded', 'AttemptFailed')
        ) AS attempts
    FROM {database}.events
    WHERE kind IN ('CallRequested', 'CallCompleted', 'CallFailed', 'AttemptSucceeded', 'AttemptFailed')
    GROUP BY run_id, call_id
)
ARRAY JOIN attempts AS tried
COMMENT 'One row per attempt at a provider, the only place cost is counted. Example: what did each agent spend today? SELECT agent, sum(cost_usd) FROM v_cost WHERE at >= today() GROUP BY agent';

CREATE VIEW {database}.v_calls {cluster} AS
SELECT
    run_id,
    call_id,
    anyIf(events.agent, kind = 'CallRequested') AS agent,
    any(events.capability) AS capability,
    multiIf(countIf(kind = 'CallCompleted') > 0, 'completed', countIf(kind = 'CallFailed') > 0, 'failed', countIf(kind = 'CallCancelled') > 0, 'cancelled', 'open') AS status,
    anyIf(events.provider, kind IN ('CallCompleted', 'CallFailed')) AS provider,
    max(events.degraded) AS degraded,
    countIf(kind IN ('AttemptSucceeded', 'AttemptFailed')) AS attempts,
    sum(events.cost_nano_usd) AS cost_nano_usd,
    CAST(sum(events.cost_nano_usd), 'Decimal(38, 9)') / 1000000000 AS cost_usd,
    maxIf(events.latency_us, kind IN ('CallCompleted', 'CallFailed')) AS latency_us,
    anyIf(events.error_class, kind = 'CallFailed') AS error_class,
    anyIf(events.error_code, kind = 'CallFailed') AS error_code,
    minIf(events.at, kind = 'CallRequested') AS requested_at,
    anyIf(events.params, kind = 'CallRequested') AS params,
    anyIf(events.result, kind = 'CallCompleted') AS result,
    countIf((kind = 'CallRequested' AND events.params = '') OR (kind = 'CallCompleted' AND events.result = '')) > 0 AS emptied
FROM {database}.events
WHERE call_id != '' AND kind != 'CallAwaited' AND run_id != ''
GROUP BY run_id, call_id
COMMENT 'One row per capability call with its outcome. Example: which calls fell back to another provider? SELECT * FROM v_calls WHERE attempts > 1';

-- Descriptors of artifacts are canonical JSON within a result, so their text has one form only. What an agent puts is the
-- value of the state key artifacts/<sha256>.
CREATE VIEW {database}.v_artifacts {cluster} AS
SELECT
    made.descriptor[2] AS sha256,
    made.descriptor[1] AS mime,
    toInt64(made.descriptor[3]) AS size,
    run_id,
    if(call_id = '', made.agent, calls.agent) AS agent,
    made.capability AS capability,
    made.provider AS provider,
    made.degraded AS degraded,
    made.call_cost_nano_usd AS call_cost_nano_usd,
    call_id,
    made.event_id AS event_id,
    made.at AS at
FROM (
    SELECT
        run_id, call_id, agent, capability, provider, degraded, call_cost_nano_usd, event_id, at,
        arrayJoin(arrayDistinct(extractAllGroupsVertical(result, '"mime":"([^"]*)","sha256":"([0-9a-f]+)","size":([0-9]+),"uri":"artifact:'))) AS descriptor
    FROM {database}.events
    WHERE kind = 'CallCompleted' AND notEmpty(artifacts)
    UNION ALL
    SELECT
        run_id, call_id, agent, capability, provider, degraded, call_cost_nano_usd, event_id, at,
        extractGroups(value, '^."mime":"([^"]*)","sha256":"([0-9a-f]+)","size":([0-9]+),"uri":"artifact:') AS descriptor
    FROM {database}.events
    WHERE kind = 'StateWritten' AND startsWith(key, 'artifacts/') AND descriptor[2] = substring(key, 11)
) AS made
LEFT JOIN (
    SELECT run_id, call_id, agent
    FROM {database}.events
    WHERE kind = 'CallRequested'
) AS calls USING (run_id, call_id)
COMMENT 'One row per file that a call made or an agent put, kept by its content; call_cost_nano_usd is of the whole call. Example: which images did a run make? SELECT sha256, size FROM v_artifacts WHERE run_id = ''R'' AND mime LIKE ''image/%''';

CREATE VIEW {database}.v_state_history {cluster} AS
SELECT run_id, key, version, agent, at, kind != 'StateWritten' AS deleted, value, size, value_hash, size > 0 AND value = '' AS emptied, event_id
FROM {database}.events
WHERE kind IN ('StateWritten', 'StateDeleted', 'StateExpired')
COMMENT 'One row per version of a state key. Example: how did the article change? SELECT version, agent, value FROM v_state_history WHERE run_id = ''R'' AND key = ''article'' ORDER BY version';

CREATE VIEW {database}.v_messages {cluster} AS
SELECT
    run_id,
    delivery_id,
    any(events.message_id) AS message_id,
    any(events.name) AS name,
    any(events.sender) AS sender,
    any(events.recipient) AS recipient,
    multiIf(
        countIf(kind = 'HandlerCompleted') > 0, 'handled',
        countIf(kind = 'MessageRedriven') > 0, 'redriven',
        countIf(kind = 'MessageDiscarded') > 0, 'discarded',
        countIf(kind = 'MessageDeadLettered') > 0, 'dead',
        countIf(kind = 'DeliveryCancelled') > 0, 'cancelled',
        'open') AS status,
    countIf(kind = 'MessageDelivered') AS deliveries,
    minIf(events.at, kind = 'MessageDelivered') AS delivered_at,
    if(status = 'open', NULL, maxIf(events.at, kind IN ('HandlerCompleted', 'MessageDeadLettered', 'DeliveryCancelled'))) AS settled_at,
    anyIf(events.error_message, kind IN ('HandlerFailed', 'MessageDeadLettered')) AS error_message,
    argMaxIf(events.traceback, events.run_seq, kind = 'HandlerFailed') AS traceback,
    anyIf(events.data, kind = 'MessageDelivered') AS data,
    countIf(kind = 'MessageDelivered' AND events.data = '') > 0 AS emptied
FROM {database}.events
WHERE delivery_id != '' AND run_id != ''
GROUP BY run_id, delivery_id
HAVING deliveries > 0
COMMENT 'One row per delivery of a message to an agent; status is open, handled, cancelled (its run ended first), dead, redriven or discarded. Example: what is still open? SELECT * FROM v_messages WHERE status = ''open''';

-- What is asked of others has an end as well; each view says it in one word.
CREATE VIEW {database}.v_requests {cluster} AS
SELECT
    run_id,
    request_id,
    anyIf(events.name, kind = 'RequestSent') AS name,
    anyIf(events.sender, kind = 'RequestSent') AS asker,
    anyIf(events.recipient, kind = 'RequestSent') AS recipient,
    multiIf(
        countIf(kind = 'RequestAnswered') > 0, 'answered',
        countIf(kind = 'RequestFailed') > 0, 'failed',
        countIf(kind = 'RequestExpired') > 0, 'expired',
        countIf(kind = 'RequestCancelled') > 0, 'cancelled',
        'open') AS status,
    countIf(kind = 'RequestWithdrawn') > countIf(kind = 'RequestAwaited') AS withdrawn,
    minIf(events.at, kind = 'RequestSent') AS asked_at,
    if(status = 'open', NULL, maxIf(events.at, kind IN ('RequestAnswered', 'RequestFailed', 'RequestExpired', 'RequestCancelled'))) AS ended_at,
    anyIf(events.result, kind = 'RequestAnswered') AS result,
    anyIf(events.error_message, kind IN ('RequestFailed', 'RequestExpired')) AS error_message
FROM {database}.events
WHERE startsWith(kind, 'Request') AND run_id != ''
GROUP BY run_id, request_id
HAVING countIf(kind = 'RequestSent') > 0
COMMENT 'One row per question of one agent to another; status is open, answered, failed, expired or cancelled (its run ended first); withdrawn: its asker waits no longer. Example: who gives no answers? SELECT recipient, count() FROM v_requests WHERE status IN (''failed'', ''expired'') GROUP BY recipient';

CREATE VIEW {database}.v_children {cluster} AS
SELECT
    run_id,
    child_run_id,
    anyIf(events.workflow, kind = 'ChildStarted') AS workflow,
    anyIf(events.agent, kind = 'ChildStarted') AS agent,
    multiIf(
        countIf(kind = 'ChildEnded') > 0, anyIf(events.status, kind = 'ChildEnded'),
        countIf(kind = 'ChildOrphaned') > 0, 'orphaned',
        'running') AS status,
    countIf(kind = 'ChildCancelled') > 0 AS told_to_end,
    minIf(events.at, kind = 'ChildStarted') AS started_at,
    if(status = 'running', NULL, maxIf(events.at, kind IN ('ChildEnded', 'ChildOrphaned'))) AS ended_at,
    anyIf(events.reason, kind IN ('ChildEnded', 'ChildOrphaned')) AS reason
FROM {database}.events
WHERE child_run_id != '' AND run_id != ''
GROUP BY run_id, child_run_id
HAVING countIf(kind = 'ChildStarted') > 0
COMMENT 'One row per child run, as its parent knows it; status is running, completed, failed, cancelled or orphaned (its parent ended first, and it is told to end). Example: which children failed? SELECT run_id, child_run_id, reason FROM v_children WHERE status = ''failed''';

CREATE VIEW {database}.v_dependencies {cluster} AS
SELECT
    run_id,
    dependency_id,
    any(events.downstream) AS downstream,
    any(events.depends_on) AS depends_on,
    any(events.trigger_when) AS trigger_when,
    multiIf(
        countIf(kind = 'DependencySatisfied') > 0, 'satisfied',
        countIf(kind = 'DependencyExpired') > 0, 'expired',
        countIf(kind = 'DependencyCancelled') > 0, 'cancelled',
        'open') AS status,
    minIf(events.at, kind = 'DependencyDeclared') AS declared_at,
    if(status = 'open', NULL, maxIf(events.at, kind != 'DependencyDeclared')) AS ended_at
FROM {database}.events
WHERE dependency_id != '' AND run_id != ''
GROUP BY run_id, dependency_id
COMMENT 'One row per agent that waits for others; status is open, satisfied, expired or cancelled (its run ended first). Example: who waits for what? SELECT downstream, depends_on FROM v_dependencies WHERE status = ''open''';

CREATE VIEW {database}.v_lineage {cluster} AS
SELECT
    edges.run_id AS run_id,
    edges.relation AS relation,
    edges.child_event AS child_event,
    child.kind AS child_kind,
    child.agent AS child_agent,
    edges.state_key AS state_key,
    edges.version AS version,
    if(edges.parent_event != '', edges.parent_event, writer.child_event) AS parent_event,
    child.topic AS topic,
    child.partition AS partition,
    child.offset AS offset
FROM {database}.edges AS edges
LEFT JOIN {database}.events AS child ON child.run_id = edges.run_id AND child.event_id = edges.child_event
LEFT JOIN
(
    SELECT run_id, state_key, version, child_event
    FROM {database}.edges
    WHERE relation = 'wrote'
) AS writer ON writer.run_id = edges.run_id AND writer.state_key = edges.state_key AND writer.version = edges.version
WHERE edges.relation != 'wrote'
COMMENT 'Edges with their ends named; reads and decisions lead to the event that wrote the version. Example: what did event E rest on? SELECT relation, parent_event, state_key, version FROM v_lineage WHERE run_id = ''R'' AND child_event = ''E''';


-- As of a time: parameters in brackets, as of a table function. Versions are never changed, so the newest one that is
-- not younger than the time is what every reader then saw; keys that were deleted or had expired by then have no row.
CREATE VIEW {database}.v_state_as_of {cluster} AS
SELECT run_id, key, version, agent, at, value, size, value_hash, size > 0 AND value = '' AS emptied, event_id
FROM
(
    SELECT *
    FROM {database}.events
    WHERE run_id = {run:String} AND at <= parseDateTime64BestEffort({at:String}, 6, 'UTC') AND kind IN ('StateWritten', 'StateDeleted', 'StateExpired')
    ORDER BY key, version DESC
    LIMIT 1 BY key
)
WHERE kind = 'StateWritten'
COMMENT 'Every key of a run as of a time. Example: what did the state look like at noon? SELECT key, version, agent, value, emptied FROM v_state_as_of(run = ''R'', at = ''2026-11-27 12:00:00'')';

-- Calls whose result is known to have served nothing: all that their handler gave anybody after they were completed were
-- versions of state keys that were replaced, deleted or expired before anything read them. Held against the facts:
-- * a version counts as read by a read of it, whoever's, its writer's too (who reads a draft to better it builds on it),
--   by a decision that names it and by a dependency that it met; and as taken up where a reducer joined the next write;
-- * what else a handler gives is taken as used: messages, answers, child runs, the result of the run, what it kept in
--   memories, and calls with an effect outside (they alone have an AttemptStarted). A result may be in any of these.
-- So nothing that may have been of use is counted, and not all that was of none: what was read on the way to a draft that
-- nobody read is not. One pass each over a run's facts, grouped by delivery: a handler that is run again is the same one.
CREATE VIEW {database}.v_discarded {cluster} AS
WITH
    handlings AS
    (
        SELECT run_id, event_id AS handled, delivery_id
        FROM {database}.events
        WHERE kind = 'MessageDelivered' AND (empty({runs:Array(String)}) OR run_id IN {runs:Array(String)})
    ),
    versions AS
    (
        SELECT
            run_id, key, version, run_seq, causation_id, event_id, kind,
            leadInFrame(kind) OVER following AS next_kind,
            leadInFrame(reducer) OVER following AS next_reducer
        FROM {database}.events
        WHERE kind IN ('StateWritten', 'StateDeleted', 'StateExpired') AND NOT startsWith(run_id, 'memory/') AND (empty({runs:Array(String)}) OR run_id IN {runs:Array(String)})
        WINDOW following AS (PARTITION BY run_id, key ORDER BY version ROWS BETWEEN CURRENT ROW AND 1 FOLLOWING)
    ),
    discarded AS
    (
        SELECT event_id
        FROM versions
        WHERE kind = 'StateWritten' AND next_kind != '' AND next_reducer = ''
            AND (run_id, key, version) NOT IN (SELECT run_id, state_key, version FROM {database}.edges WHERE relation IN ('read', 'decided') AND (empty({runs:Array(String)}) OR run_id IN {runs:Array(String)}))
            AND event_id NOT IN (SELECT parent_event FROM {database}.edges WHERE relation = 'satisfied' AND (empty({runs:Array(String)}) OR run_id IN {runs:Array(String)}))
    ),
    effects AS
    (
        SELECT run_id, call_id
        FROM {database}.events
        WHERE kind = 'AttemptStarted' AND (empty({runs:Array(String)}) OR run_id IN {runs:Array(String)})
    ),
    calls AS
    (
        SELECT
            run_id,
            call_id,
            anyIf(events.causation_id, kind = 'CallRequested') AS handled,
            anyIf(events.agent, kind = 'CallRequested') AS agent,
            anyIf(events.capability, kind = 'CallRequested') AS capability,
            maxIf(events.run_seq, kind = 'CallCompleted') AS completed_seq
        FROM {database}.events
        WHERE kind IN ('CallRequested', 'CallCompleted') AND (empty({runs:Array(String)}) OR run_id IN {runs:Array(String)})
        GROUP BY run_id, call_id
        HAVING completed_seq > 0 AND handled != ''
    ),
    outputs AS
    (
        SELECT run_id, causation_id AS handled, run_seq, kind = 'StateWritten' AND event_id IN (SELECT event_id FROM discarded) AS unread
        FROM {database}.events
        WHERE (kind IN ('StateWritten', 'MessagePublished', 'MessageSent', 'RequestSent', 'ChildStarted', 'RunCompleted') OR kind = 'RequestAnswered' AND result != 'null')
            AND (empty({runs:Array(String)}) OR run_id IN {runs:Array(String)} OR startsWith(run_id, 'memory/'))
        UNION ALL
        SELECT run_id, handled, completed_seq AS run_seq, false AS unread
        FROM calls
        WHERE (run_id, call_id) IN (SELECT run_id, call_id FROM effects)
    )
SELECT calls.run_id AS run_id, call_id, calls.agent AS agent, calls.capability AS capability
FROM calls
INNER JOIN handlings ON calls.run_id = handlings.run_id AND calls.handled = handlings.handled
INNER JOIN
(
    SELECT
        handlings.run_id AS run_id,
        handlings.delivery_id AS delivery_id,
        maxIf(if(outputs.run_id = handlings.run_id, run_seq, 9223372036854775807), NOT unread) AS last_used,
        maxIf(run_seq, unread) AS last_unread
    FROM outputs
    INNER JOIN handlings ON outputs.handled = handlings.handled
    GROUP BY run_id, delivery_id
) AS given ON handlings.run_id = given.run_id AND handlings.delivery_id = given.delivery_id
WHERE completed_seq > last_used AND completed_seq < last_unread
COMMENT 'Calls of some runs (all: an empty list) whose result went into nothing but drafts that nobody read. Example: which calls of run R served nothing? SELECT call_id, agent, capability FROM v_discarded(runs = [''R''])';
