-- How many edges does each topic-partition have, up to where it was just now?
SELECT topic, partition, count() AS edges
FROM edges
WHERE offset <= transform(concat(topic, '/', toString(partition)), {places:Array(String)}, {bounds:Array(Int64)}, toInt64(-1))
GROUP BY topic, partition
