-- Who decided who may do what: one row an act, though every partition has its own fact of it.
CREATE VIEW {database}.v_audit {cluster} AS
SELECT
    min(events.at) AS at,
    kind,
    name,
    if(any(events.operator) = '', any(events.agent), any(events.operator)) AS done_by,
    max(events.key_generation) AS key_generation,
    any(events.roles) AS roles,
    arrayConcat(
        arrayMap(one -> concat('subscriptions ', one), any(events.subscriptions)),
        arrayMap(one -> concat('workflows ', one), any(events.workflows)),
        arrayMap(one -> concat('reads ', one), any(events.reads)),
        arrayMap(one -> concat('writes ', one), any(events.writes)),
        arrayMap(one -> concat('capabilities ', one), any(events.capabilities)),
        arrayMap(one -> concat('publishes ', one), any(events.publishes)),
        arrayMap(one -> concat('starts ', one), any(events.starts)),
        arrayMap(one -> concat('controls ', one), any(events.controls)),
        arrayMap(one -> concat('supervisors ', one), any(events.supervisors)),
        arrayMap(one -> concat('contracts ', one), any(events.contracts))
    ) AS rights,
    any(events.not_granted) AS not_granted,
    any(events.policy) AS policy,
    correlation_id AS act_id,
    uniqExact(events.partition) AS partitions
FROM {database}.events
WHERE kind IN ('AgentRegistered', 'AgentRemoved', 'AgentKeyIssued', 'AgentKeyRevoked', 'RightsGranted', 'IdentityRequired', 'GrantsRequired')
GROUP BY kind, name, correlation_id
COMMENT 'What was declared, granted, issued, revoked and removed, one row an act, with who did it. Example: who changed what agents may do, last first? SELECT at, kind, name, done_by, rights FROM v_audit ORDER BY at DESC LIMIT 50';
