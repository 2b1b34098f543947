-- The words of others stand in columns of their own. reason, code, error_class and error_code are the platform's; said is
-- what said_by said. error_type, error_message and traceback of a message are those of said_by; error_message of an
-- attempt is its provider's; reason of MessageDiscarded and CallDiscarded is the agent's.
ALTER TABLE {database}.events {cluster}
    ADD COLUMN IF NOT EXISTS said String CODEC(ZSTD(3)) COMMENT 'what somebody else said, as data: a handler, a provider, who ended a run',
    ADD COLUMN IF NOT EXISTS said_by LowCardinality(String) COMMENT 'whose words said, or the error of a message, are';

CREATE OR REPLACE VIEW {database}.v_messages {cluster} AS
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
    anyIf(events.reason, kind IN ('HandlerFailed', 'MessageDeadLettered', 'DeliveryCancelled')) AS reason,
    anyIf(events.said, kind = 'DeliveryCancelled') AS said,
    anyIf(events.said_by, kind IN ('HandlerFailed', 'MessageDeadLettered', 'DeliveryCancelled')) AS said_by,
    argMaxIf(events.traceback, events.run_seq, kind = 'HandlerFailed') AS traceback,
    anyIf(events.data, kind = 'MessageDelivered') AS data,
    countIf(kind = 'MessageDelivered' AND events.data = '') > 0 AS emptied
FROM {database}.events
WHERE delivery_id != '' AND run_id != ''
GROUP BY run_id, delivery_id
HAVING deliveries > 0
COMMENT 'One row per delivery of a message to an agent; status is open, handled, cancelled (its run ended first), dead, redriven or discarded. Example: what is still open? SELECT * FROM v_messages WHERE status = ''open''';

CREATE OR REPLACE VIEW {database}.v_requests {cluster} AS
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
    anyIf(events.error_message, kind IN ('RequestFailed', 'RequestExpired')) AS error_message,
    anyIf(events.reason, kind IN ('RequestFailed', 'RequestExpired')) AS reason,
    anyIf(events.said_by, kind IN ('RequestFailed', 'RequestExpired')) AS said_by
FROM {database}.events
WHERE startsWith(kind, 'Request') AND run_id != ''
GROUP BY run_id, request_id
HAVING countIf(kind = 'RequestSent') > 0
COMMENT 'One row per question of one agent to another; status is open, answered, failed, expired or cancelled (its run ended first); withdrawn: its asker waits no longer. Example: who gives no answers? SELECT recipient, count() FROM v_requests WHERE status IN (''failed'', ''expired'') GROUP BY recipient';

CREATE OR REPLACE VIEW {database}.v_children {cluster} AS
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
    anyIf(events.reason, kind IN ('ChildEnded', 'ChildOrphaned')) AS reason,
    anyIf(events.code, kind IN ('ChildEnded', 'ChildOrphaned')) AS code,
    anyIf(events.said, kind IN ('ChildEnded', 'ChildOrphaned')) AS said,
    anyIf(events.said_by, kind IN ('ChildEnded', 'ChildOrphaned')) AS said_by
FROM {database}.events
WHERE child_run_id != '' AND run_id != ''
GROUP BY run_id, child_run_id
HAVING countIf(kind = 'ChildStarted') > 0
COMMENT 'One row per child run, as its parent knows it; status is running, completed, failed, cancelled or orphaned (its parent ended first, and it is told to end). Example: which children failed? SELECT run_id, child_run_id, reason, said_by, said FROM v_children WHERE status = ''failed''';
