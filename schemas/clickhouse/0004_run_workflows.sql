-- Which workflow a run is of, small enough to be asked in every query of a person who may see some workflows only.
--
-- Filled by the insert of the facts themselves, so a run is in it as soon as its first fact is in events.
CREATE TABLE IF NOT EXISTS {database}.run_workflows {cluster}
(
    workflow LowCardinality(String),
    run_id String CODEC(ZSTD(1))
)
ENGINE = {replicated}ReplacingMergeTree
ORDER BY (workflow, run_id)
COMMENT 'Which workflow a run is of; a run may have several rows. Example: how many runs has each workflow? SELECT workflow, uniqExact(run_id) AS runs FROM run_workflows GROUP BY workflow ORDER BY runs DESC';

CREATE MATERIALIZED VIEW IF NOT EXISTS {database}.run_workflows_filled {cluster} TO {database}.run_workflows AS
SELECT workflow, run_id FROM {database}.events WHERE kind = 'RunStarted';

INSERT INTO {database}.run_workflows SELECT workflow, run_id FROM {database}.events WHERE kind = 'RunStarted';
