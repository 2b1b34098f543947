-- Every record of every fact topic, one row each, never changed.
--
-- One wide table: a run's facts of all kinds are read together (timeline, lineage, cost), so there is nothing to join.
-- Columns carry the names of the Avro fields they hold; a field that a record does not have is the column's default,
-- and a column that is always default in a part costs next to nothing there. The one renamed field is CallEvent's
-- cost_nano_usd, call_cost_nano_usd here: the books count attempts only, and sum(cost_nano_usd) must not count twice.
--
-- ORDER BY: nearly every question names a run, and run_seq is the run's own total order over all topics: a timeline is
-- one range read, already sorted. run_id is a UUIDv7, so runs of one time lie together. (topic, partition, offset)
-- makes the key unique for facts about no run, which have run_seq 0.
-- PARTITION BY month: only for retention (drop a month). The sink never lets one insert span two months, because an
-- insert is atomic only within one partition: that is what makes "resume after the highest offset stored" exact.
-- Deduplication window: a plain MergeTree keeps none by default; the sink names every insert with a token, so that
-- repeating one whose answer was lost adds nothing.
-- fsync: offsets in Kafka are not committed anywhere else, but a power cut that lost this part and kept a later one
-- would leave a hole under the highest offset, which nobody would read again.
-- Projection positions: where the sink resumes and what reconcile compares; kept in each part, so it costs nothing to
-- ask and cannot disagree with the rows.
-- Codecs: offsets, sequence numbers and times grow slowly (Delta); ids are 36 characters of hexadecimal, for which
-- ZSTD(1) finds the 16 bytes in them; bodies are read rarely and one at a time, hence ZSTD(3).
-- Wide parts only above 256 MB: a wide part is two files a column, and creating 150 of them an insert took longer than
-- everything else an insert does (measured: 8 of 15 µs a row); most of them are merged away within a minute.
-- Retention, per class of data: bodies are emptied 90 days after their fact, when their part is merged next; all else
-- stays, hashes and sizes of the bodies among it, so that books, timeline, cost and lineage are whole for as long as
-- there are rows. Other times: ALTER TABLE events MODIFY COLUMN value TTL toDateTime(at) + INTERVAL 30 DAY, …; whole
-- months: ALTER TABLE … DROP PARTITION 202601, of edges as well, once no topic has its newest fact in them.
-- Bloom filters: an event, a call, a delivery or a state key asked for without its run; a tree of runs by its root.
CREATE DATABASE IF NOT EXISTS {database} {cluster} ENGINE = Atomic;

CREATE TABLE {database}.events {cluster}
(
    topic LowCardinality(String) COMMENT 'Kafka topic the record lies in',
    partition Int32 CODEC(T64, LZ4),
    offset Int64 CODEC(Delta, ZSTD(1)),
    appended_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'the broker''s timestamp of the record',

    event_id String CODEC(ZSTD(1)),
    kind LowCardinality(String) COMMENT 'what happened, past tense; Unreadable: a record that is no fact of ours, see error_code',
    run_id String CODEC(ZSTD(1)) COMMENT 'the run whose record this fact is in; empty: in none',
    about_run_id String CODEC(ZSTD(1)) COMMENT 'of a fact in no record: the run that was meant, which had ended, or never was',
    run_seq Int64 CODEC(Delta, ZSTD(1)) COMMENT 'gap-free position in the run, from 1; 0: about no run',
    correlation_id String CODEC(ZSTD(1)),
    causation_id String CODEC(ZSTD(1)) COMMENT 'event_id of the fact that led to this one',
    agent LowCardinality(String) COMMENT 'who sent the command; bp.executor for attempts and outcomes, see v_cost for the caller',
    at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'append time of the command',
    command_id String CODEC(ZSTD(1)),
    command_offset Int64 CODEC(Delta, ZSTD(1)),
    parent_run_id String CODEC(ZSTD(1)) COMMENT 'the run that started this run; empty for a root run',
    root_run_id String CODEC(ZSTD(1)) COMMENT 'the top of the tree of runs, for a root run itself; empty: about no run',

    workflow LowCardinality(String),
    input String CODEC(ZSTD(3)) TTL toDateTime(at) + INTERVAL 90 DAY,
    result String CODEC(ZSTD(3)) TTL toDateTime(at) + INTERVAL 90 DAY,
    reason String CODEC(ZSTD(1)),
    state_hash String CODEC(ZSTD(1)),
    complete_when LowCardinality(String),
    reply_to String CODEC(ZSTD(1)),
    reply_partition Int32 CODEC(T64, LZ4),
    deadline_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'of the run, message or dependency; 1970: none',
    budget_nano_usd Int64 CODEC(T64, LZ4) COMMENT 'what a run, a call or an agent in one run may cost; -1: no limit',
    spent_nano_usd Int64 CODEC(T64, LZ4) COMMENT 'of a run with a budget that has ended, with its child runs; cost_nano_usd has what each attempt cost',
    reserved_nano_usd Int64 CODEC(T64, LZ4) COMMENT 'at the end of a run: what was still open may cost',
    child_run_id String CODEC(ZSTD(1)) COMMENT 'which child, in a parent''s facts about its children',
    started_by LowCardinality(String) COMMENT 'of a child run: the agent that started it',
    status LowCardinality(String) COMMENT 'how the child ended',
    rules Int32 CODEC(T64, LZ4) COMMENT 'which version of the ledger''s rules decides the run',
    resumed_from String CODEC(ZSTD(1)) COMMENT 'the ended run that this one goes on from',
    completed Array(String) CODEC(ZSTD(1)) COMMENT 'of a resumed run: agents whose work was completed before',
    published Array(String) CODEC(ZSTD(1)) COMMENT 'of a resumed run: messages that were published before',
    tags Array(String) CODEC(ZSTD(1)) COMMENT 'of a run: words by which people find it again',

    key String CODEC(ZSTD(1)) COMMENT 'state key',
    version Int64 CODEC(T64, LZ4),
    value String CODEC(ZSTD(3)) TTL toDateTime(at) + INTERVAL 90 DAY,
    size Int32 CODEC(T64, LZ4),
    value_hash String CODEC(ZSTD(1)),
    guarded Bool,
    expected_version Int64 CODEC(T64, LZ4),
    batch Int32 CODEC(T64, LZ4) COMMENT 'keys read by the same command; 0: this one alone',
    reducer LowCardinality(String) COMMENT 'how the operand became the value; of a contract: how writes are joined',
    operand String CODEC(ZSTD(3)) TTL toDateTime(at) + INTERVAL 90 DAY,
    expires_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'of the value written; 1970: never',

    name LowCardinality(String) COMMENT 'message or agent name',
    message_id String CODEC(ZSTD(1)),
    delivery_id String CODEC(ZSTD(1)),
    sender LowCardinality(String),
    recipient LowCardinality(String),
    data String CODEC(ZSTD(3)) TTL toDateTime(at) + INTERVAL 90 DAY,
    attempt Int32 CODEC(T64, LZ4) COMMENT 'of the delivery, or of the call over all providers',
    recipients Int32 CODEC(T64, LZ4),
    error_type LowCardinality(String),
    error_message String CODEC(ZSTD(3)),
    cause LowCardinality(String) COMMENT 'why a message is a dead letter',
    not_before DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'when the attempt is to be made; 1970: at once',
    traceback String CODEC(ZSTD(3)) TTL toDateTime(at) + INTERVAL 90 DAY COMMENT 'where a handler failed',
    request_id String CODEC(ZSTD(1)),
    origin LowCardinality(String) COMMENT 'of what the platform says: whose doing it tells of',

    dependency_id String CODEC(ZSTD(1)),
    downstream LowCardinality(String),
    depends_on Array(String) CODEC(ZSTD(1)),
    trigger_when LowCardinality(String),
    satisfied_by Array(String) CODEC(ZSTD(1)),
    count Int32 CODEC(T64, LZ4),

    call_id String CODEC(ZSTD(1)),
    capability LowCardinality(String),
    params String CODEC(ZSTD(3)) TTL toDateTime(at) + INTERVAL 90 DAY,
    provider LowCardinality(String),
    degraded Bool,
    attempts Int32 CODEC(T64, LZ4),
    call_cost_nano_usd Int64 CODEC(T64, LZ4) COMMENT 'what the executor reported for the whole call; never summed into the books',
    latency_us Int64 CODEC(T64, LZ4),
    error_class LowCardinality(String),
    error_code LowCardinality(String),
    timeout_ms Int64 CODEC(T64, LZ4),
    config String CODEC(ZSTD(1)) COMMENT 'what the caller asked of recovery, JSON',
    manifest_version Int64 CODEC(T64, LZ4) COMMENT 'of the capability, as used: its place in bp.capabilities; 0: not known',
    asked_nano_usd Int64 CODEC(T64, LZ4) COMMENT 'of a call that its budget ended: what the next attempt might have cost',
    cached Bool COMMENT 'the result of an equal call a short while ago; nothing was asked or paid',
    report String CODEC(ZSTD(3)) COMMENT 'of a call that met trouble, JSON: attempts, alternatives, cause, action',
    redrive_of String CODEC(ZSTD(1)) COMMENT 'the failed call that this call repeats',
    redriven_as String CODEC(ZSTD(1)) COMMENT 'the call that repeats this failed one',
    redrives Int32 CODEC(T64, LZ4),
    local Bool COMMENT 'the caller''s own process makes, or made, the attempts',
    artifacts Array(String) CODEC(ZSTD(1)) COMMENT 'SHA-256: CallRequested, those the call was given; CallCompleted, those it made',

    caused_by Array(String) CODEC(ZSTD(1)) COMMENT 'the attempts that made a circuit breaker change, each as call_id/attempt',
    open_until DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'of a circuit breaker: not asked before; 1970: it is closed',
    opened Int32 CODEC(T64, LZ4) COMMENT 'times in a row that the breaker opened',

    model LowCardinality(String),
    prompt_version LowCardinality(String),
    input_tokens Int64 CODEC(T64, LZ4),
    output_tokens Int64 CODEC(T64, LZ4),
    cached_tokens Int64 CODEC(T64, LZ4) COMMENT 'those of the tokens read that the provider read from its cache',
    cache_write_tokens Int64 CODEC(T64, LZ4) COMMENT 'those of the tokens read that the provider wrote to its cache',
    cache_write_1h_tokens Int64 CODEC(T64, LZ4) COMMENT 'those of the tokens written to the cache that it keeps for an hour',
    input_audio_tokens Int64 CODEC(T64, LZ4) COMMENT 'those of the tokens read that are sound',
    reasoning_tokens Int64 CODEC(T64, LZ4) COMMENT 'those of the tokens written that the model thought and nobody is shown',
    output_audio_tokens Int64 CODEC(T64, LZ4) COMMENT 'those of the tokens written that are sound',
    tier LowCardinality(String) COMMENT 'how the provider worked on it, where that has a price of its own: batch, flex, priority; empty: as usual',
    cost_nano_usd Int64 CODEC(T64, LZ4) COMMENT 'of one attempt, the leaf that cost is counted on',
    price_id LowCardinality(String) COMMENT 'empty: unpriced, which is not the same as free',
    started_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'by the executor''s own clock',
    executor LowCardinality(String),
    assignment Int64 CODEC(T64, LZ4) COMMENT 'of partitions to that executor; with executor it names one incarnation',
    lease_ms Int64 CODEC(T64, LZ4) COMMENT 'of a claim: how long after it the effect may still happen',
    fencing_token Int64 CODEC(T64, LZ4) COMMENT 'of a claim on a call: the how many-th that the ledger granted',

    action LowCardinality(String),
    rationale String CODEC(ZSTD(3)) TTL toDateTime(at) + INTERVAL 90 DAY,
    context_used Array(String) CODEC(ZSTD(1)) COMMENT 'key@version',

    command_kind LowCardinality(String),
    code LowCardinality(String),
    message String CODEC(ZSTD(3)),
    detail String CODEC(ZSTD(3)) TTL toDateTime(at) + INTERVAL 90 DAY,

    subscriptions Array(String) CODEC(ZSTD(1)),
    workflows Array(String) CODEC(ZSTD(1)),
    reads Array(String) CODEC(ZSTD(1)),
    writes Array(String) CODEC(ZSTD(1)),
    capabilities Array(String) CODEC(ZSTD(1)),
    publishes Array(String) CODEC(ZSTD(1)),
    max_deliveries Int32 CODEC(T64, LZ4),
    supervisor LowCardinality(String),
    handler_timeout_ms Int64 CODEC(T64, LZ4),
    call_budgets Map(String, Int64) COMMENT 'glob of capabilities → what one call may cost',
    retries Map(String, String) COMMENT 'handled message, or empty for all → when a failed attempt is made again, JSON',
    key_generation Int32 CODEC(T64, LZ4) COMMENT 'which of the agent''s keys was issued or revoked',
    previous_ends_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'until when the key before is valid too',
    starts Array(String) CODEC(ZSTD(1)) COMMENT 'workflows whose runs the agent may start, globs',
    controls Array(String) CODEC(ZSTD(1)) COMMENT 'workflows whose runs the agent may end, cancel and redrive, globs',
    supervisors Array(String) CODEC(ZSTD(1)) COMMENT 'agents that it may name as its supervisor, globs',
    contracts Array(String) CODEC(ZSTD(1)) COMMENT 'patterns of contracts that it may apply, globs',
    roles Array(String) CODEC(ZSTD(1)) COMMENT 'names of the roles that the rights came from',
    client Bool COMMENT 'the rights are those of a client, which speaks without a declaration',
    policy LowCardinality(String) COMMENT 'which declarations are granted without an operator',
    not_granted Array(String) CODEC(ZSTD(1)) COMMENT 'what a declaration asks for and was not granted',
    operator LowCardinality(String) COMMENT 'who granted, issued, revoked or removed, as it calls itself',

    target LowCardinality(String) COMMENT 'of a contract: state or message',
    pattern String CODEC(ZSTD(1)),
    schema String CODEC(ZSTD(3)),
    contract_version Int64 CODEC(T64, LZ4),
    schema_id Int32 CODEC(T64, LZ4),
    ttl_ms Int64 CODEC(T64, LZ4),

    INDEX by_event event_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_call call_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_artifact artifacts TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_delivery delivery_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_root root_run_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_key key TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_kind kind TYPE set(32) GRANULARITY 1,
    PROJECTION positions (SELECT topic, partition, max(offset), max(appended_at), count() GROUP BY topic, partition)
)
ENGINE = {replicated}MergeTree
PARTITION BY toYYYYMM(at)
PRIMARY KEY (run_id, run_seq)
ORDER BY (run_id, run_seq, topic, partition, offset)
SETTINGS min_bytes_for_wide_part = 268435456, non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Every record of every fact topic, one row each. Example: what did run R do? SELECT run_seq, kind, agent FROM events WHERE run_id = ''R'' ORDER BY run_seq';
