-- Who changed what a name may do, the last change first?
SELECT
    toUnixTimestamp64Micro(at) AS at, kind, done_by, key_generation, roles, rights, not_granted
FROM v_audit
WHERE name = {agent:String}
ORDER BY v_audit.at DESC, kind
LIMIT 50
