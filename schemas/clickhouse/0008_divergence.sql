-- The commands of handlers are held against what is recorded of them. A delivery whose attempt asks for something else is
-- parked; difference says what was recorded and what was asked.
ALTER TABLE {database}.events {cluster}
    ADD COLUMN IF NOT EXISTS fingerprint String CODEC(ZSTD(3)) COMMENT 'what a handler''s command asked for: kind, target and hash of its content',
    ADD COLUMN IF NOT EXISTS difference String CODEC(ZSTD(3)) COMMENT 'how an attempt diverged from what is recorded, JSON',
    ADD COLUMN IF NOT EXISTS restarts Int32 CODEC(T64, LZ4) COMMENT 'how often a delivery was restarted from nothing',
    ADD COLUMN IF NOT EXISTS first_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'of a further attempt at a delivery: when the first one was delivered',
    ADD COLUMN IF NOT EXISTS effect LowCardinality(String) COMMENT 'of a step of a handler: safe or unsafe; empty: a call of a capability',
    ADD COLUMN IF NOT EXISTS on_divergence LowCardinality(String) COMMENT 'park, restart or fail, as an agent declares it; empty: park';

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
        maxIf(events.run_seq, kind = 'MessageParked') > maxIf(events.run_seq, kind IN ('MessageContinued', 'MessageRestarted')), 'parked',
        'open') AS status,
    countIf(kind = 'MessageDelivered') AS deliveries,
    minIf(events.at, kind = 'MessageDelivered') AS delivered_at,
    if(status IN ('open', 'parked'), NULL, maxIf(events.at, kind IN ('HandlerCompleted', 'MessageDeadLettered', 'DeliveryCancelled'))) AS settled_at,
    anyIf(events.error_message, kind IN ('HandlerFailed', 'MessageDeadLettered')) AS error_message,
    anyIf(events.reason, kind IN ('HandlerFailed', 'MessageDeadLettered', 'DeliveryCancelled')) AS reason,
    anyIf(events.said, kind = 'DeliveryCancelled') AS said,
    anyIf(events.said_by, kind IN ('HandlerFailed', 'MessageDeadLettered', 'DeliveryCancelled')) AS said_by,
    argMaxIf(events.traceback, events.run_seq, kind = 'HandlerFailed') AS traceback,
    argMaxIf(events.difference, events.run_seq, kind IN ('MessageParked', 'MessageRestarted', 'MessageDeadLettered')) AS difference,
    anyIf(events.data, kind = 'MessageDelivered') AS data,
    countIf(kind = 'MessageDelivered' AND events.data = '') > 0 AS emptied
FROM {database}.events
WHERE delivery_id != '' AND run_id != ''
GROUP BY run_id, delivery_id
HAVING deliveries > 0
COMMENT 'One row per delivery of a message to an agent; status is open, handled, cancelled (its run ended first), dead, redriven, discarded or parked (an attempt asked for something else than is recorded, see difference). Example: what is still open? SELECT * FROM v_messages WHERE status = ''open''';
